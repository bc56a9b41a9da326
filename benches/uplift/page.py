"""The tables as markdown, and as a document for programs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from uplift.goals import MIN_TRAININGS, AbsentGoal, Result, compare, goals_without_figure
from uplift.table import Cell, Side, SideRow, side_rows

__all__ = ["document", "markdown"]

_NAMES = {
    "success": "{left}, %",
    "difference": "{left} - {right}, points",
    "share": "{left} / {right}, %",
    "gain": "{left} / {right} - 1, %",
}


def document(found: Iterable[Cell], models: Sequence[str]) -> list[dict[str, Any]]:
    """Every figure of the tables, fit for JSON."""
    return [
        {
            "group": cell.group,
            "seeds": cell.seeds,
            "arms": [asdict(row) for row in side_rows(cell)],
            "comparisons": [asdict(r) for model in models for r in compare(cell, model)],
            "goals_without_figure": [
                asdict(absent) for model in models for absent in goals_without_figure(cell, model)
            ],
        }
        for cell in found
    ]


def markdown(found: Iterable[Cell], models: Sequence[str]) -> str:
    """The tables: for each group of tasks and range of seeds the arms, the goals, the tasks."""
    lines: list[str] = []
    for cell in found:
        rows = side_rows(cell)
        lines += [f"### {cell.group} tasks, seeds {cell.seeds}", "", *_arms(rows), ""]
        for model in models:
            if results := compare(cell, model):
                lines += [*_goals(cell, results), ""]
            if absent := goals_without_figure(cell, model):
                lines += [*_absent(absent), ""]
        lines += [*_tasks(cell, rows), ""]
    return "\n".join(lines)


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(names) + " |"
    yield "|---" * len(names) + "|"
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def _arms(rows: Sequence[SideRow]) -> Iterator[str]:
    yield from _table(
        (
            "arm",
            "n",
            "success % [95%]",
            "steps",
            "resets",
            "steps a solved one",
            "resets a solved one",
            "diverged",
        ),
        (
            (
                row.name + (f" (mean of {row.members} trainings)" if row.members > 1 else ""),
                str(row.n) + (f" ({row.n_missing} missing)" if row.n_missing else ""),
                f"{row.success:.1f} {_bounds(row.interval)}",
                f"{row.env_steps:.1f}",
                f"{row.resets:.1f}",
                _number(row.env_steps_per_solved),
                _number(row.resets_per_solved),
                str(row.diverged),
            )
            for row in rows
        ),
    )


def _goals(cell: Cell, results: Sequence[Result]) -> Iterator[str]:
    verdict = f"verdict, with all {len(cell.planned)} rows and {MIN_TRAININGS} trainings"
    yield from _table(
        (
            "comparison",
            "n",
            "figure [95%]",
            "each training",
            "of these trainings [95%]",
            "over tasks too [95%]",
            "goal",
            verdict,
        ),
        (
            (
                _NAMES[result.kind].format(left=result.left, right=result.right),
                f"{result.n}" + (f" x {result.members}" if result.members > 1 else ""),
                _value(result),
                ", ".join(_one(result, value) for value in result.by_training),
                _interval(result, result.interval_of_these_models),
                _interval(result, result.interval_over_tasks),
                result.goal,
                _verdict(result),
            )
            for result in results
        ),
    )


def _absent(goals: Sequence[AbsentGoal]) -> Iterator[str]:
    """Goals without a figure, those with one reason together."""
    yield "Goals without a figure:"
    yield ""
    for why in dict.fromkeys(goal.why for goal in goals):
        named = (
            f"{_NAMES[goal.kind].format(left=goal.left, right=goal.right)} ({goal.goal})"
            for goal in goals
            if goal.why == why
        )
        yield f"- {why}: {'; '.join(named)}"


def _verdict(result: Result) -> str:
    if result.missing:
        return f"incomplete: {', '.join(result.missing)}"
    return {True: "met", False: "missed", None: ""}[result.is_met]


def _tasks(cell: Cell, rows: Sequence[SideRow]) -> Iterator[str]:
    """Success of each task; the training seeds of a model stand there as their mean."""
    hidden = {name for side in cell.sides.values() for name in _parts(side)}
    shown = [row for row in rows if row.name not in hidden]
    tasks = sorted({task for row in shown for task in row.by_task})
    yield from _table(
        ("task, success %", *(row.name for row in shown)),
        ((task, *(_share(row.by_task, task) for row in shown)) for task in tasks),
    )


def _parts(side: Side) -> tuple[str, ...]:
    """The arms whose mean a side is; none where it is an arm itself."""
    return () if side.names == (side.name,) else side.names


def _share(by_task: Mapping[str, float], task: str) -> str:
    return f"{by_task[task]:.0f}" if task in by_task else "-"


def _is_signed(result: Result) -> bool:
    return result.kind in ("difference", "gain")


def _value(result: Result) -> str:
    value = _one(result, result.value)
    if result.num_differing == 0:
        return f"{value} (no outcome differs)"
    return f"{value} {_interval(result, result.interval)}"


def _one(result: Result, value: float) -> str:
    return f"{value:+.1f}" if _is_signed(result) else f"{value:.1f}"


def _interval(result: Result, bounds: tuple[float, float]) -> str:
    return _bounds(bounds, is_signed=_is_signed(result))


def _bounds(bounds: tuple[float, float], *, is_signed: bool = False) -> str:
    low, high = (f"{end:+.1f}" if is_signed else f"{end:.1f}" for end in bounds)
    return f"[{low}, {high}]"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
