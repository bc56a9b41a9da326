"""What a person at a terminal sees of an export: a line for each stage, and one moving bar."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from similar_fast_export.progress import ExportProgress, Watch

__all__ = ["Spectator", "spectator"]


@dataclass(frozen=True, slots=True)
class Spectator:
    """Whom an export tells how far it is.

    Attributes:
        report: Told in words what comes next.
        watch: Told how much was read and written.
    """

    report: Callable[[str], None]
    watch: Watch


@contextmanager
def spectator(*, is_quiet: bool) -> Iterator[Spectator]:
    """Lines and a bar on stderr; nothing where `is_quiet`, or where stderr is no terminal."""
    if is_quiet or not sys.stderr.isatty():
        yield Spectator(lambda _: None, lambda _: None)
        return
    from rich.console import Console  # noqa: PLC0415  # --help stays quick
    from rich.progress import (  # noqa: PLC0415  # as above
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(file=sys.stderr, soft_wrap=True)
    columns = (
        BarColumn(bar_width=24),
        DownloadColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=None, visible=False)

        def report(words: str) -> None:
            progress.update(task, visible=False)
            progress.refresh()  # or the bar is drawn once more below the words
            console.print(words, markup=False, highlight=False)

        def watch(now: ExportProgress) -> None:
            progress.update(
                task,
                completed=min(now.num_read, now.num_bytes),
                total=now.num_bytes,
                description=f"{now.graph}, {now.num_written / 1e6:.1f} MB written",
                visible=True,
            )

        yield Spectator(report, watch)
