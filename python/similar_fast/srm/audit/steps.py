"""Checks of step numbers: gaps, an order by text, numbers that repeat."""

from similar_fast.srm.audit.findings import Finding, Tally
from similar_fast.srm.audit.rows import AuditData, Run

__all__ = ["step_numbers"]

_CHECK = "step-numbers"
_NUMBERS_SHOWN = 12


def step_numbers(data: AuditData, limit: int) -> list[Finding]:
    """Trajectories that begin late, have a gap, repeat a number or are out of order."""
    starts, gaps, repeats = Tally(limit), Tally(limit), Tally(limit)
    by_text, out_of_order = Tally(limit), Tally(limit)
    for run in data.runs:
        # Candidates of one state share its number, in any order, and a collection labels no step
        # that too few rollouts passed through.
        if run.is_branched:
            continue
        numbers = [row.step for row in run.steps]
        lowest, distinct, words = min(numbers), set(numbers), _words(run, numbers)
        if lowest != 1:
            starts.add(run.place, words)
        if len(distinct) < max(numbers) - lowest + 1:
            gaps.add(run.place, words)
        if len(distinct) < len(numbers):
            repeats.add(run.place, words)
        if numbers != sorted(numbers):
            is_by_text = numbers == sorted(numbers, key=str)
            (by_text if is_by_text else out_of_order).add(run.place, words)
    return [
        *starts.findings(_CHECK, "warning", words="trajectories do not begin with step 1"),
        *gaps.findings(_CHECK, "warning", words="trajectories lack a step in the middle"),
        *repeats.findings(_CHECK, "fault", words="trajectories have a step number twice"),
        *by_text.findings(
            _CHECK, "warning", words="trajectories have their steps in the order of text: 1, 10, 2"
        ),
        *out_of_order.findings(_CHECK, "warning", words="trajectories have steps out of order"),
    ]


def _words(run: Run, numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:_NUMBERS_SHOWN]))
    more = ", ..." if len(numbers) > _NUMBERS_SHOWN else ""
    return f"{run.steps[0].run[3]!r} has the steps {shown}{more}"
