"""An evaluation in tables for people."""

from math import isfinite
from typing import TYPE_CHECKING

from similar_fast.cli.output import Output, count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from similar_fast.metrics.comparison import GroupComparison
    from similar_fast.metrics.intervals import Estimate
    from similar_fast.srm.evaluate.evaluation import Comparison, Evaluation

__all__ = ["print_comparison", "print_evaluation"]


def print_evaluation(output: Output, evaluation: "Evaluation") -> None:
    """Accuracy by type and by place, what was probed and fitted, and what it took."""
    overall = evaluation.overall
    level = f"{overall.micro.interval.level:.0%}"
    output.table(
        f"{evaluation.name}: accuracy in %, chance 50; {count(overall.n_clusters, 'task')}",
        ("type", "pairs", "ties", "invalid", "accuracy", level),
        _type_rows(evaluation),
    )
    if len(evaluation.places) > 1:
        output.table("by platform", ("type", *evaluation.places), _place_rows(evaluation))
    output.text(*(f"  {line}" for line in _facts(evaluation)))
    for reason, n in evaluation.reasons()[:5]:
        output.note(f"{count(n, 'pair')} without a score: {reason}")


def print_comparison(output: Output, comparison: "Comparison") -> None:
    """First less second, in points, with both tests."""
    from similar_fast.srm.evaluate.evaluation import ordered_types

    paired = comparison.paired
    level = f"{paired.macro_difference.estimate.interval.level:.0%}"
    rows = [
        _difference_row(_symbol(kind), paired.groups[kind]) for kind in ordered_types(paired.groups)
    ]
    macro = paired.macro_difference
    rows.append(_difference_row("micro", paired.overall))
    rows.append(
        (
            "macro",
            _percent(paired.first_macro),
            _percent(paired.second_macro),
            _points(macro.estimate.value),
            _interval(macro.estimate, signed=True),
            _p_value(macro.p_value),
            "",
        )
    )
    output.table(
        f"{comparison.first.name} less {comparison.second.name}, in points",
        ("type", "first", "second", "points", level, "p, tasks", "p, McNemar"),
        rows,
    )


def _type_rows(evaluation: "Evaluation") -> "Iterator[tuple[object, ...]]":
    from similar_fast.srm.evaluate.evaluation import ordered_types

    overall = evaluation.overall
    for kind in ordered_types(overall.groups):
        counts, estimate = overall.accuracy.groups[kind], overall.groups[kind]
        yield (
            _symbol(kind),
            counts.n,
            counts.n_ties,
            counts.n_invalid,
            _percent(estimate.value),
            _interval(estimate),
        )
    for name, estimate in (("micro", overall.micro), ("macro", overall.macro)):
        of_all = overall.accuracy
        cells = (of_all.n, of_all.n_ties, of_all.n_invalid)
        yield (name, *cells, _percent(estimate.value), _interval(estimate))


def _place_rows(evaluation: "Evaluation") -> "Iterator[tuple[object, ...]]":
    """The types down, the platforms across; numbers of pairs in parentheses."""
    from similar_fast.srm.evaluate.evaluation import ordered_types

    found = evaluation.places.values()
    for kind in ordered_types(evaluation.overall.groups):
        yield (
            _symbol(kind),
            *(
                f"{_percent(one.groups[kind].value)} ({one.accuracy.groups[kind].n})"
                if kind in one.groups
                else ""
                for one in found
            ),
        )
    yield ("micro", *(f"{_percent(one.micro.value)} ({one.accuracy.n})" for one in found))
    yield ("macro", *(f"{_percent(one.macro.value)} {_interval(one.macro)}" for one in found))
    yield ("tasks", *(str(one.n_clusters) for one in found))


def _facts(evaluation: "Evaluation") -> "Iterator[str]":
    position, calibration = evaluation.position, evaluation.calibration
    if position is not None and position.n:
        yield (
            f"position: {position.share_changed:.1%} of {count(position.n, 'answer')} change with "
            f"the order; the action shown first wins {position.share_first:.1%}"
        )
    if calibration is not None:
        table = calibration.pairs.table
        yield (
            f"calibration: expected error {table.expected_error:.3f}, log loss "
            f"{calibration.pairs.log_loss:.3f} on {count(table.n, 'pair')} (a coin: 0.693)"
        )
    if evaluation.signs:
        signs = ", ".join(f"{_symbol(t)} {'+-'[s < 0]}" for t, s in evaluation.signs.items())
        yield f"signs fitted on train: {signs}"
    if (cost := evaluation.scores.cost) is not None:
        yield (
            f"speed: {count(cost.n_actions, 'action')} in {cost.seconds:.2f} s (CPU "
            f"{cost.cpu_seconds:.2f} s): {cost.pairs_per_second:,.0f} pairs/s, "
            f"{cost.actions_per_second:,.0f} actions/s"
        )


def _difference_row(name: str, group: "GroupComparison") -> tuple[object, ...]:
    return (
        name,
        _percent(group.first),
        _percent(group.second),
        _points(group.difference.estimate.value),
        _interval(group.difference.estimate, signed=True),
        _p_value(group.difference.p_value),
        _p_value(group.mcnemar.p_value),
    )


def _symbol(kind: object) -> str:
    from similar_fast.dimensions import DIMENSION_INFO, Dimension

    return DIMENSION_INFO[Dimension(str(kind))].symbol


def _percent(value: float) -> str:
    return f"{100 * value:.1f}" if isfinite(value) else ""


def _points(value: float) -> str:
    return f"{100 * value:+.1f}" if isfinite(value) else ""


def _interval(estimate: "Estimate", *, signed: bool = False) -> str:
    bounds = estimate.interval
    if not (isfinite(bounds.low) and isfinite(bounds.high)):
        return ""
    show = _points if signed else _percent
    return f"[{show(bounds.low)}, {show(bounds.high)}]"


def _p_value(value: float) -> str:
    return f"{value:.2g}" if isfinite(value) else ""
