"""Progress on stderr: a bar with rate and remaining time on a terminal, plain lines otherwise."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from attrs import define, field

from nodelens.cli.layout import echo
from nodelens.printable import printable
from nodelens.progress import Progress, silent

PLAIN_SECONDS = 10.0


@contextmanager
def progress_on_stderr(quiet: bool) -> Iterator[Progress]:
    """Yield a progress callback that suits stderr; clear its line afterwards."""
    if quiet:
        yield silent
    elif sys.stderr.isatty():
        with _bars() as bars:
            yield bars
    else:
        yield PlainLines()


@define
class PlainLines:
    """Progress as plain lines: one per finished task, and one every ten seconds in between."""

    clock: Callable[[], float] = time.monotonic
    started: dict[str, float] = field(factory=dict)
    shown: dict[str, float] = field(factory=dict)

    def __call__(self, what: str, done: int, total: int) -> None:
        """Print how far `what` is, at most every ten seconds."""
        now = self.clock()
        started = self.started.setdefault(what, now)
        if done < total and now - self.shown.setdefault(what, now) < PLAIN_SECONDS:
            return
        self.shown[what] = now
        if total and done >= total:
            echo(f"{what}: {done} done in {now - started:.1f} s", err=True)
            del self.started[what], self.shown[what]
        else:
            of = f" of {total}" if total else ""
            echo(f"{what}: {done}{of}, {self._remaining(started, now, done, total)}", err=True)

    @staticmethod
    def _remaining(started: float, now: float, done: int, total: int) -> str:
        if not (done and total and now > started):
            return "just started"
        rate = done / (now - started)
        return f"{rate:.1f}/s, {(total - done) / rate:.0f} s left"


@contextmanager
def _bars() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    tasks: dict[str, TaskID] = {}
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(printable(what), total=total or None, rate="")
            speed = bars.tasks[bars.task_ids.index(tasks[what])].speed
            rate = f"{speed:.0f}/s" if speed else ""
            bars.update(tasks[what], completed=done, total=total or None, rate=rate)
            if total and done >= total:
                bars.remove_task(tasks.pop(what))

        yield show
