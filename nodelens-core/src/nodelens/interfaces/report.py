"""The contract of a report writer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from nodelens.storage.run_folder import RunFolder


@runtime_checkable
class Report(Protocol):
    """A writer that reads a run folder and nothing else: a frozen attrs class of options.

    Example:
        ::

            @frozen
            class Headlines:
                def write(self, run):
                    lines = [line for finding in run.findings() for line in finding.headline]
                    run.write_text("headlines.txt", "; ".join(lines))
                    return [run.file("headlines.txt")]
    """

    def write(self, run: RunFolder) -> Sequence[Path]:
        """Write the report into the run folder.

        Args:
            run: the folder of a finished, failed or interrupted run.

        Returns:
            The files written, the one to open first.
        """
