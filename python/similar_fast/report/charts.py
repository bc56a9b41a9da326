"""Charts as inline SVG: they need no script, and take their colours from the page's style."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, isfinite, pi, sin

from similar_fast.metrics.calibration import CalibrationTable
from similar_fast.metrics.intervals import Estimate
from similar_fast.report.page import escaped

__all__ = ["Series", "interval_bar", "radar", "reliability"]

_CENTER, _RADIUS = (250.0, 190.0), 128.0
_LEFT, _TOP, _WIDTH, _HEIGHT = 52.0, 16.0, 396.0, 220.0
_MASS_TOP, _MASS_HEIGHT = 262.0, 44.0


@dataclass(frozen=True, slots=True)
class Series:
    """One scorer in a radar.

    Attributes:
        name: What it is called.
        kind: Its class in the page's style: `first` or `second`.
        values: What each axis shows, in [0, 1], with its interval; None where there is nothing.
    """

    name: str
    kind: str
    values: Sequence[Estimate | None]


def interval_bar(estimate: Estimate) -> str:
    """A figure in [0, 1] and its interval on a line from 0 to 1, with chance in the middle."""
    value, bounds = estimate.value, estimate.interval
    marks = '<line class="chance" x1="100" y1="1" x2="100" y2="19"/>'
    if isfinite(bounds.low) and isfinite(bounds.high):
        low, high = 200 * bounds.low, 200 * bounds.high
        marks += f'<line class="span" x1="{low:.1f}" y1="10" x2="{high:.1f}" y2="10"/>'
    if isfinite(value):
        marks += f'<circle class="dot" cx="{200 * value:.1f}" cy="10" r="4"/>'
    axis = '<line class="axis" x1="0" y1="10" x2="200" y2="10"/>'
    return (
        '<svg class="interval" viewBox="-5 0 210 20" width="210" height="20" '
        f'aria-hidden="true">{axis}{marks}</svg>'
    )


def radar(axes: Sequence[tuple[str, str]], series: Sequence[Series]) -> str:
    """Figures in [0, 1] on as many spokes as there are axes, with the ring of chance.

    Args:
        axes: Symbol and name of each, clockwise from the top.
        series: At least one; the first one's values stand beside the axes.
    """
    parts = [_ring(len(axes), share, "ring") for share in (0.25, 0.75, 1.0)]
    parts += [_spoke(i, len(axes)) for i in range(len(axes))]
    parts += [_outline(one, has_spans=one is series[0]) for one in reversed(series)]
    parts.append(_ring(len(axes), 0.5, "chance"))
    parts += [_axis_label(i, len(axes), axis, series[0].values[i]) for i, axis in enumerate(axes)]
    words = "; ".join(
        f"{one.name}: "
        + ", ".join(
            f"{name} {_percent(value)}" for (_, name), value in zip(axes, one.values, strict=True)
        )
        for one in series
    )
    return (
        '<svg class="chart radar" viewBox="0 0 500 372" role="img">'
        f"<title>{escaped(f'Accuracy by dimension, chance is 50. {words}')}</title>"
        f"{''.join(parts)}</svg>"
    )


def reliability(table: CalibrationTable) -> str:
    """How often the preferred step is the better one, by confidence, above how many pairs are so.

    Args:
        table: Of confidences in [0.5, 1].
    """
    parts = [_grid_line(share) for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    parts += [_tick(confidence) for confidence in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)]
    start, end = _point(0.5, 0.5), _point(1.0, 1.0)
    parts.append(f'<path class="ideal" d="M{start} L{end}"/>')
    filled = [row for row in table.bins if row.n]
    path = " L".join(_point(row.mean_predicted, row.mean_observed) for row in filled)
    parts.append(f'<path class="course" d="M{path}"/>')
    most = max((row.n for row in filled), default=1)
    for row in filled:
        x, y = _point(row.mean_predicted, row.mean_observed).split(" ")
        told = (
            f"{row.n:,} pairs, confidence {row.mean_predicted:.2f}: {row.mean_observed:.2f} right"
        )
        radius = 2 + 4 * (row.n / most) ** 0.5  # few pairs say little
        parts.append(
            f'<circle class="dot" cx="{x}" cy="{y}" r="{radius:.1f}"><title>{told}</title></circle>'
        )
        left = _LEFT + _WIDTH * (row.low - 0.5) * 2
        height = _MASS_HEIGHT * row.n / most
        parts.append(
            f'<rect class="mass" x="{left + 2:.1f}" y="{_MASS_TOP + _MASS_HEIGHT - height:.1f}" '
            f'width="{_WIDTH * (row.high - row.low) * 2 - 4:.1f}" height="{height:.1f}">'
            f"<title>{told}</title></rect>"
        )
    bottom = _MASS_TOP + _MASS_HEIGHT
    parts.append(
        f'<text class="tick" x="{_LEFT - 8:.0f}" y="{_MASS_TOP + 10:.0f}" text-anchor="end">'
        f'{most:,}</text><text class="tick" x="{_LEFT - 8:.0f}" y="{bottom:.0f}" '
        'text-anchor="end">0</text>'
        f'<text class="tick" x="{_LEFT + _WIDTH / 2:.0f}" y="{bottom + 22:.0f}" '
        'text-anchor="middle">confidence; bars: pairs</text>'
        f'<text class="tick" x="{_LEFT + 6:.0f}" y="{_TOP + 12:.0f}">right, %</text>'
    )
    return (
        '<svg class="chart" viewBox="0 0 470 336" role="img"><title>Calibration: the share of '
        "pairs that are right by the confidence of the scorer; the diagonal is a scorer that "
        f"means what it says</title>{''.join(parts)}</svg>"
    )


def _percent(value: Estimate | None) -> str:
    return "no pairs" if value is None or not isfinite(value.value) else f"{100 * value.value:.1f}"


def _at(index: int, count: int, share: float) -> tuple[float, float]:
    angle = 2 * pi * index / count
    radius = _RADIUS * min(1.0, max(0.0, share))
    return _CENTER[0] + radius * sin(angle), _CENTER[1] - radius * cos(angle)


def _points(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _ring(count: int, share: float, kind: str) -> str:
    corners = _points([_at(i, count, share) for i in range(count)])
    return f'<polygon class="{kind}" points="{corners}"/>'


def _spoke(index: int, count: int, low: float = 0.0, high: float = 1.0, kind: str = "ring") -> str:
    (x1, y1), (x2, y2) = _at(index, count, low), _at(index, count, high)
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _outline(series: Series, *, has_spans: bool) -> str:
    """The area of a scorer, its points, and each one's interval along its spoke."""
    count = len(series.values)
    shown = [
        (i, value)
        for i, value in enumerate(series.values)
        if value is not None and isfinite(value.value)
    ]
    corners = [_at(i, count, value.value) for i, value in shown]
    parts = []
    if len(corners) > 2:
        parts.append(f'<polygon class="outline {series.kind}" points="{_points(corners)}"/>')
    for i, value in shown if has_spans else ():
        bounds = value.interval
        if isfinite(bounds.low) and isfinite(bounds.high):
            parts.append(_spoke(i, count, bounds.low, bounds.high, f"whisker {series.kind}"))
    parts += [
        f'<circle class="dot {series.kind}" cx="{x:.1f}" cy="{y:.1f}" r="4"/>' for x, y in corners
    ]
    return "".join(parts)


def _axis_label(index: int, count: int, axis: tuple[str, str], value: Estimate | None) -> str:
    x, y = _at(index, count, 1.0)
    side = sin(2 * pi * index / count)
    anchor = "middle" if abs(side) < 0.1 else "start" if side > 0 else "end"
    x += 14 * side
    y += -24 if y < _CENTER[1] - _RADIUS / 2 else 18 if y > _CENTER[1] + _RADIUS / 2 else -4
    symbol, name = axis
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">'
        f'<tspan class="value">{escaped(symbol)} {_percent(value)}</tspan>'
        f'<tspan class="tick" x="{x:.1f}" dy="16">{escaped(name)}</tspan></text>'
    )


def _point(confidence: float, share: float) -> str:
    x = _LEFT + _WIDTH * (confidence - 0.5) * 2
    return f"{x:.1f} {_TOP + _HEIGHT * (1 - share):.1f}"


def _grid_line(share: float) -> str:
    y = _TOP + _HEIGHT * (1 - share)
    kind = "chance" if share == 0.5 else "ring"
    return (
        f'<line class="{kind}" x1="{_LEFT}" y1="{y:.1f}" x2="{_LEFT + _WIDTH}" y2="{y:.1f}"/>'
        f'<text class="tick" x="{_LEFT - 8:.0f}" y="{y + 4:.1f}" text-anchor="end">'
        f"{100 * share:.0f}</text>"
    )


def _tick(confidence: float) -> str:
    x = _LEFT + _WIDTH * (confidence - 0.5) * 2
    return (
        f'<text class="tick" x="{x:.1f}" y="{_TOP + _HEIGHT + 17:.0f}" text-anchor="middle">'
        f"{confidence:.1f}</text>"
    )
