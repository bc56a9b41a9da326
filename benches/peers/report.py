"""The measured arms as a table."""

import statistics
from dataclasses import dataclass

from arms import OURS_PYTHON, OURS_RUST, Arm

HEADER = (
    "search",
    "trees x simulations",
    "simulations/s",
    "range",
    "bytes a simulation",
    "ours, Python",
    "ours, Rust",
    "asked",
)


@dataclass(frozen=True)
class Measured:
    """One arm's timings.

    Attributes:
        arm: What was timed.
        rates: Simulations a CPU second, one a timing.
        nbytes: What the trees hold, a simulation; None where nothing could be seen.
        error: What went wrong, in which case there are no rates.
    """

    arm: Arm
    rates: list[float]
    nbytes: float | None
    error: str | None = None

    @property
    def rate(self) -> float:
        """The median."""
        return statistics.median(self.rates)


def table(measured: list[Measured]) -> str:
    """A markdown table: every arm, and how many times as fast ours is at the same size."""
    ours = {
        (row.arm.name, row.arm.size): row.rate
        for row in measured
        if row.arm.name in {OURS_RUST, OURS_PYTHON} and row.rates
    }
    lines = [
        f"| {' | '.join(HEADER)} |",
        f"|{'---|' * len(HEADER)}",
    ]
    for row in measured:
        size = f"{row.arm.trees} x {row.arm.num_simulations:,}"
        if not row.rates:
            lines.append(f"| {row.arm.name} | {size} | {row.error} | | | | | |")
            continue
        spread = f"{thousands(min(row.rates))} to {thousands(max(row.rates))}"
        held = "" if row.nbytes is None else f"{row.nbytes:,.0f}"
        ratios = [times(ours.get((name, row.arm.size)), row) for name in (OURS_PYTHON, OURS_RUST)]
        asked = "" if row.arm.required is None else f"{row.arm.required:,.0f}x"
        cells = [row.arm.name, size, thousands(row.rate), spread, held, *ratios, asked]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def thousands(rate: float) -> str:
    """A rate as a reader wants it: three digits at most behind nothing."""
    return f"{rate / 1000:,.1f}k" if rate < 100_000 else f"{rate / 1000:,.0f}k"


def times(ours: float | None, row: Measured) -> str:
    """How many times as fast ours is; nothing for ours itself."""
    if ours is None or row.arm.name in {OURS_RUST, OURS_PYTHON}:
        return ""
    ratio = ours / row.rate
    return f"{ratio:,.0f}x" if ratio >= 10 else f"{ratio:.1f}x"
