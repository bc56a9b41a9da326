"""The one place where the command line writes: text and progress for people, JSON for programs."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

__all__ = ["Bar", "Output", "count"]

SPEED_PERIOD_S = 3600.0  # a unit of work may take minutes, and the time left needs two of them


class Bar:
    """One progress bar that is being shown, or nothing where nobody watches."""

    def __init__(self, progress: "Progress | None", total: int, label: str) -> None:
        self._progress = progress
        self._task = progress.add_task(label, total=total) if progress else None

    def advance(self, label: str | None = None, *, amount: int = 1) -> None:
        """`amount` units are done; `label` says what comes now."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, advance=amount)
            self.say(label)

    def say(self, label: str | None) -> None:
        """Changes the words beside the bar."""
        if self._progress is not None and self._task is not None and label is not None:
            self._progress.update(self._task, description=label)


class Output:
    """Text and tables on stdout, progress and errors on stderr; with `--json` one document.

    Args:
        is_json: Whether the command was asked for JSON.
    """

    def __init__(self, *, is_json: bool) -> None:
        self.is_json = is_json

    def text(self, *lines: str) -> None:
        """Lines for people."""
        if not self.is_json:
            for line in lines:
                self._console(sys.stdout).print(line, markup=False, highlight=False)

    def table(self, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """A table for people; numbers stand on the right."""
        if self.is_json:
            return
        from rich.markup import escape
        from rich.table import Table

        table = Table(title=escape(title), title_justify="left", title_style="bold")
        cells = [[escape(_cell(value)) for value in row] for row in rows]
        for index, column in enumerate(columns):
            is_number = all(row[index].replace(".", "").lstrip("-").isdigit() for row in cells)
            table.add_column(escape(column), justify="right" if is_number else "left")
        for row in cells:
            table.add_row(*row)
        self._console(sys.stdout).print(table)

    def document(self, document: Any) -> None:  # noqa: ANN401  # whatever JSON can hold
        """The command's whole answer for programs."""
        if self.is_json:
            sys.stdout.write(
                json.dumps(document, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
            )

    def note(self, line: str) -> None:
        """A line beside the answer, on stderr."""
        self._console(sys.stderr).print(line, markup=False, highlight=False)

    def error(self, error: Exception) -> None:
        """An error in one line on stderr, and as a document with `--json`."""
        self.document({"error": {"type": type(error).__name__, "message": str(error)}})
        self.note(f"error: {type(error).__name__}: {error}")

    @contextmanager
    def progress(self, total: int, label: str) -> Iterator[Bar]:
        """A bar with the time left, on stderr; only where a person watches."""
        if self.is_json or not sys.stderr.isatty():
            yield Bar(None, total, label)
            return
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        columns = (
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}", markup=False),
        )
        with Progress(
            *columns,
            console=self._console(sys.stderr),
            transient=True,
            speed_estimate_period=SPEED_PERIOD_S,
        ) as progress:
            yield Bar(progress, total, label)

    @staticmethod
    def _console(stream: Any) -> "Console":  # noqa: ANN401  # stdout or stderr as they are now
        from rich.console import Console

        return Console(file=stream, soft_wrap=True, emoji=False)  # `:100:` is a line number


def count(number: int, noun: str) -> str:
    """`number` and `noun` in words: `1 row`, `2 rows`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _cell(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)
