"""The HTML report: one self-contained page, and its figures and tables as files for papers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from attrs import frozen

if TYPE_CHECKING:
    from nodelens.storage.run_folder import RunFolder


@frozen
class HtmlReport:
    """A page that opens anywhere, also without a network.

    Attributes:
        formats: the kinds of file that every figure is also stored as, in ``figures/``.
    """

    formats: tuple[Literal["svg", "png", "pdf"], ...] = ("svg", "png", "pdf")

    def write(self, run: RunFolder) -> Sequence[Path]:
        """Write ``report.html``, ``figures/`` and ``tables/``, and return the files written.

        Raises `nodelens.errors.RunError` when a file cannot be written.
        """
        from nodelens.reports.page import write_page

        return write_page(run, self.formats)
