"""The parts of the benchmark's page: tables and texts as markup, every text escaped."""

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite

from similar_fast.dimensions import DIMENSION_INFO, DIMENSIONS, Dimension
from similar_fast.metrics.comparison import GroupComparison
from similar_fast.metrics.intervals import Estimate
from similar_fast.report.charts import Series, interval_bar, radar, reliability
from similar_fast.report.page import escaped
from similar_fast.srm.evaluate.evaluation import (
    Comparison,
    Evaluation,
    Miss,
    ordered_types,
    place_of,
)

__all__ = [
    "calibration_part",
    "comparison_part",
    "facts_list",
    "figures",
    "misses_part",
    "platforms_part",
    "radar_part",
    "types_table",
    "verdict",
]

_MAX_CHARS, _MAX_TITLE, _MAX_ACTIONS, _MAX_BEFORE = 800, 110, 12, 5
_DASH = "&#8211;"


def verdict(evaluation: Evaluation) -> str:
    """Whether the macro average differs from chance, as a badge and a sentence."""
    macro = evaluation.overall.macro
    low, high = macro.interval.low, macro.interval.high
    if not isfinite(macro.value):
        kind, badge = "", "No answer"
    elif low > 0.5:
        kind, badge = " good", "Above chance"
    elif high < 0.5:
        kind, badge = "", "Below chance"
    else:
        kind, badge = "", "Not told from chance"
    sentence = (
        f"Macro accuracy {percent(macro.value)}, {macro.interval.level:.0%} interval "
        f"{interval(macro)} over {evaluation.overall.n_clusters:,} tasks; a coin has 50."
    )
    return f'<span class="badge{kind}">{badge}</span><span>{sentence}</span>'


def figures(evaluation: Evaluation) -> str:
    """The counts and the costs, large."""
    counted, cost, position = (
        evaluation.overall.accuracy,
        evaluation.scores.cost,
        evaluation.position,
    )
    shown = [
        ("Macro accuracy, %", percent(evaluation.overall.macro.value)),
        ("Micro accuracy, %", percent(evaluation.overall.micro.value)),
        ("Pairs with scores", f"{counted.n:,}"),
        ("Ties", f"{counted.n_ties:,}"),
        ("Invalid pairs", f"{counted.n_invalid:,}"),
    ]
    if position is not None and position.n:
        shown.append(
            (
                f"Answers that change with the order, % of {position.n:,}",
                percent(position.share_changed),
            )
        )
        shown.append(("Action shown first preferred, %", percent(position.share_first)))
    if cost is not None:
        shown.append(("Pairs a second", f"{cost.pairs_per_second:,.0f}"))
        shown.append(("Actions a second", f"{cost.actions_per_second:,.0f}"))
    return "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in shown)


def types_table(evaluation: Evaluation) -> str:
    """A row for each type, then the averages; every accuracy with its interval as a bar."""
    overall = evaluation.overall
    rows = []
    for kind in ordered_types(overall.groups):
        counts, info = overall.accuracy.groups[kind], DIMENSION_INFO[kind]
        name = info.symbol + ("" if info.symbol == kind else f" <small>{kind}</small>")
        cells = (counts.n, counts.n_ties, counts.n_invalid)
        rows.append(_estimate_row(name, cells, overall.groups[kind]))
    of_all = overall.accuracy
    cells = (of_all.n, of_all.n_ties, of_all.n_invalid)
    micro = _estimate_row("Micro <small>over pairs</small>", cells, overall.micro, "sum first")
    macro = _estimate_row("Macro <small>over types</small>", cells, overall.macro, "sum")
    head = ("Type", "Accuracy", "Interval", "chance at 50", "Pairs", "Ties", "Invalid")
    return table(head, [*rows, micro, macro])


def platforms_part(evaluation: Evaluation) -> str:
    """Accuracy of each type on each platform; empty where there is one."""
    if len(evaluation.places) < 2:
        return ""
    types = ordered_types(evaluation.overall.groups)
    rows = []
    for place, found in evaluation.places.items():
        cells = [f"{found.n_clusters:,}", f"{found.accuracy.n:,}"]
        cells += [percent(found.groups[t].value) if t in found.groups else _DASH for t in types]
        cells += [percent(found.micro.value), percent(found.macro.value), interval(found.macro)]
        rows.append(_row(escaped(place), cells))
    symbols = [DIMENSION_INFO[kind].symbol for kind in types]
    head = ("Platform", "Tasks", "Pairs", *symbols, "Micro", "Macro", "Interval")
    return section("By platform", table(head, rows))


def radar_part(evaluations: Sequence[Evaluation]) -> str:
    """The five dimensions of one or two scorers."""
    series = [
        Series(found.name, kind, [found.overall.groups.get(d) for d in DIMENSIONS])
        for found, kind in zip(evaluations, ("first", "second"), strict=False)
    ]
    axes = [(DIMENSION_INFO[d].symbol, d.value) for d in DIMENSIONS]
    names = "".join(f'<li class="{one.kind}">{escaped(one.name)}</li>' for one in series)
    legend = f'<ul class="legend">{names}<li class="coin">chance, 50</li></ul>'
    return section("The five dimensions", radar(axes, series) + legend)


def calibration_part(evaluation: Evaluation) -> str:
    """The reliability diagram and its two numbers."""
    found = evaluation.calibration
    if found is None or not found.pairs.table.n:
        return section("Calibration", "<p>Too few tasks to fit a temperature and to judge it.</p>")
    pairs = found.pairs
    told = (
        f"Expected error {pairs.table.expected_error:.3f}, log loss {pairs.log_loss:.3f} (a coin: "
        f"0.693) on {pairs.table.n:,} pairs. One temperature a type, fitted on the "
        f"{found.n_fitted:,} pairs of the other half of the tasks."
    )
    if found.left_out:
        symbols = ", ".join(DIMENSION_INFO[kind].symbol for kind in found.left_out)
        told += f" Without a temperature, and left out: {symbols}."
    return section("Calibration", reliability(pairs.table) + f'<p class="told">{told}</p>')


def comparison_part(comparison: Comparison | None) -> str:
    """First less second by type, with both tests; empty where nothing is compared."""
    if comparison is None:
        return ""
    paired = comparison.paired
    rows = [
        _difference_row(DIMENSION_INFO[kind].symbol, paired.groups[kind])
        for kind in ordered_types(paired.groups)
    ]
    rows.append(_difference_row("Micro", paired.overall, "sum first"))
    macro = paired.macro_difference
    cells = ["", percent(paired.first_macro), percent(paired.second_macro)]
    cells.append(f"<b>{percent(macro.estimate.value, signed=True)}</b>")
    cells.append(interval(macro.estimate, signed=True))
    rows.append(_row("Macro", [*cells, _p_value(macro.p_value), ""], "sum"))
    head = (
        "Type",
        "Pairs",
        "First",
        "Second",
        "Difference",
        "Interval",
        "p, by tasks",
        "p, McNemar",
    )
    names = f"{comparison.first.name} less {comparison.second.name}"
    told = (
        "In points, on the pairs that both have scores for. The interval and p by tasks draw whole "
        "tasks; McNemar's test takes pairs for independent."
    )
    return section(names, f'<p class="told">{told}</p>{table(head, rows)}')


def misses_part(misses: Sequence[Miss]) -> str:
    """The worst misses with their texts, the first of them open."""
    if not misses:
        return section("Worst misses", "<p>The scorer is wrong about no pair.</p>")
    told = (
        "Pairs whose rejected side scores higher by most, in median absolute differences of their "
        "type: the worst of each task and type."
    )
    cards = "".join(_miss(miss, is_open=i < 2) for i, miss in enumerate(misses))
    return section("Worst misses", f'<p class="told">{told}</p>{cards}')


def section(title: str, content: str) -> str:
    """A part of the page under a heading."""
    return f"<section><h2>{escaped(title)}</h2>{content}</section>"


def table(head: Sequence[str], rows: Iterable[str]) -> str:
    """A table that scrolls in itself where the page is narrow."""
    cells = "".join(f'<th scope="col">{name}</th>' for name in head)
    return (
        f'<div class="scroll" tabindex="0"><table><thead><tr>{cells}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def facts_list(facts: Mapping[str, str]) -> str:
    """Names and values in one line."""
    return " &#183; ".join(f"{escaped(name)}: {escaped(value)}" for name, value in facts.items())


def percent(value: float, *, signed: bool = False) -> str:
    """A share in per cent, or a dash."""
    if not isfinite(value):
        return _DASH
    text = f"{100 * value:+.1f}" if signed else f"{100 * value:.1f}"
    return text.replace("-", "&#8722;")


def interval(estimate: Estimate, *, signed: bool = False) -> str:
    """Both bounds in per cent, or a dash."""
    low, high = estimate.interval.low, estimate.interval.high
    if not (isfinite(low) and isfinite(high)):
        return _DASH
    return f"[{percent(low, signed=signed)}, {percent(high, signed=signed)}]"


def _p_value(value: float) -> str:
    return f"{value:.2g}" if isfinite(value) else _DASH


def _row(name: str, cells: Sequence[str], kind: str = "") -> str:
    return (
        f'<tr class="{kind}"><th scope="row">{name}</th>'
        + "".join(f"<td>{cell}</td>" for cell in cells)
        + "</tr>"
    )


def _estimate_row(name: str, counts: Sequence[int], estimate: Estimate, kind: str = "") -> str:
    cells = [f"<b>{percent(estimate.value)}</b>", interval(estimate), interval_bar(estimate)]
    cells += [f"{count:,}" for count in counts]
    return _row(name, cells, kind)


def _difference_row(name: str, group: GroupComparison, kind: str = "") -> str:
    estimate = group.difference.estimate
    cells = [f"{group.n:,}", percent(group.first), percent(group.second)]
    cells += [
        f"<b>{percent(estimate.value, signed=True)}</b>",
        interval(estimate, signed=True),
        _p_value(group.difference.p_value),
        _p_value(group.mcnemar.p_value),
    ]
    return _row(name, cells, kind)


def _miss(miss: Miss, *, is_open: bool) -> str:
    pair = miss.pair
    place = f"{place_of(pair)}, task {pair.task}" + (f", step {pair.step}" if pair.step > 0 else "")
    summary = (
        f"<b>{DIMENSION_INFO[pair.type].symbol}</b> {escaped(_cut(pair.instruction, _MAX_TITLE))} "
        f'<span class="told">{escaped(place)}, wrong by {miss.margin:.1f}</span>'
    )
    history = pair.history[-_MAX_BEFORE:]
    is_cut = len(pair.instruction.strip()) > _MAX_TITLE
    before = f"<p>{escaped(_cut(pair.instruction))}</p>" if is_cut else ""
    if history:
        first = len(pair.history) - len(history) + 1
        items = "".join(f"<li>{escaped(_cut(action))}</li>" for action in history)
        before += f'<h4>Before it</h4><ol start="{first}">{items}</ol>'
    return (
        f"<details{' open' if is_open else ''}><summary>{summary}</summary>"
        f'<div class="miss">{before}'
        f'<div class="sides">{_side("chosen", miss)}{_side("rejected", miss)}</div></div></details>'
    )


def _side(kind: str, miss: Miss) -> str:
    """One side of a pair: its score, its label where there is one, its actions."""
    pair = miss.pair
    actions: tuple[str, ...] = getattr(pair, kind)
    label: float | None = getattr(pair, f"{kind}_label")
    score: float = getattr(miss, kind)
    facts = f"score {score:.4g}" + ("" if label is None else f", label {label:.4g}")
    title = "Better by its label" if kind == "chosen" else "Preferred by the scorer"
    if pair.type is Dimension.TRAJECTORY:
        items = "".join(f"<li>{escaped(_cut(a))}</li>" for a in actions[:_MAX_ACTIONS])
        left = len(actions) - _MAX_ACTIONS
        text = f"<ol>{items}</ol>" + (f"<p>and {left} more</p>" if left > 0 else "")
    else:
        text = "".join(f"<pre>{escaped(_cut(action))}</pre>" for action in actions)
    return f'<div class="side {kind}"><h4>{title} <span>{facts}</span></h4>{text}</div>'


def _cut(text: str, most: int = _MAX_CHARS) -> str:
    text = text.strip()
    return text if len(text) <= most else text[:most].rstrip() + " \u2026"
