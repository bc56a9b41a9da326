"""The labels of MCTS-P as pure functions, one a dimension.

The source's symbols are `M` mean_length, `i` step, `AC` accumulated, `r` reached, `Len` remaining
(after the action), `K` rollouts. Task relevance and coherence come from a judge.

Source: Miao et al. 2025 (arXiv 2503.18665), section 3.2, with M - i + 1 kept at least 1 and AC kept
on the path from the root to the action's own parent.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

__all__ = [
    "Outcome",
    "ReachRule",
    "RolloutLabels",
    "accumulated",
    "efficiency",
    "helpfulness",
    "label_candidates",
    "label_idle",
    "odds_of_success",
    "reached",
    "remaining_length",
]

ReachRule = Literal["majority", "mean"]
"""What r is: `majority`, 1 where at least half of the rollouts succeed, else 0; `mean`: OS."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the rollouts of one action came to.

    Attributes:
        rollouts: How many were played, at least 1.
        successes: How many reached the goal.
        sum_remaining: Actions that the successful ones took after this action, added up.
    """

    rollouts: int
    successes: int
    sum_remaining: int

    def __post_init__(self) -> None:
        if self.rollouts < 1 or not 0 <= self.successes <= self.rollouts:
            raise ValueError(
                f"expected at least 1 rollout and 0 to that many successes, got "
                f"{self.rollouts} and {self.successes}"
            )
        if self.sum_remaining < 0 or (self.successes == 0 and self.sum_remaining):
            raise ValueError(
                f"sum_remaining must count actions of successes, got {self.sum_remaining} "
                f"for {self.successes}"
            )


@dataclass(frozen=True, slots=True)
class RolloutLabels:
    """The three labels that rollouts give, and what the labels of the next step need.

    Attributes:
        helpfulness: H.
        odds_of_success: OS, in [0, 1].
        efficiency: E.
        accumulated: AC after this action, in [0, 1].
        remaining: Len after this action, in actions.
    """

    helpfulness: float
    odds_of_success: float
    efficiency: float
    accumulated: float
    remaining: float


def odds_of_success(outcome: Outcome) -> float:
    """OS = successes / K, in [0, 1]."""
    return outcome.successes / outcome.rollouts


def reached(odds: float, rule: ReachRule = "majority") -> float:
    """r, in [0, 1]: whether the goal counts as reached from here."""
    return odds if rule == "mean" else float(odds >= 0.5)


def helpfulness(*, step: int, mean_length: float, accumulated: float, reached: float) -> float:
    """H_i = (1 - AC_{i-1}) / max(1, M - i + 1) * (2 r_i - 1), in [-1, 1].

    Args:
        step: i, from 1.
        mean_length: M, in actions, at least 1 where the task takes an action at all.
        accumulated: AC_{i-1}, in [0, 1].
        reached: r_i, in [0, 1].
    """
    return (1 - accumulated) / max(1.0, mean_length - step + 1) * (2 * reached - 1)


def accumulated(previous: float, helpfulness: float) -> float:
    """AC_i = max(AC_{i-1}, AC_{i-1} + H_i), in [0, 1] where `previous` is."""
    return max(previous, previous + helpfulness)


def remaining_length(outcome: Outcome, mean_length: float) -> float:
    """Len_i: mean actions after this one in successful rollouts; M where there are none."""
    if outcome.successes == 0:
        return mean_length
    return outcome.sum_remaining / outcome.successes


def efficiency(*, before: float, after: float, mean_length: float) -> float:
    """E_i = (Len_{i-1} - Len_i) / Len_0, with Len_0 = M: the share of the task that was saved.

    Along a shortest successful path, where each action shortens what is left by one, the
    efficiencies add up to 1.
    """
    return (before - after) / mean_length


def label_idle(before: RolloutLabels) -> RolloutLabels:
    """The labels of an action that changed nothing: the odds of its state, and no progress.

    The state after it is the state before it, so nothing needs to be played: OS and Len are those
    of the action that led there, and H and E, being differences, are 0.

    Args:
        before: Of the action that led to the state.
    """
    return replace(before, helpfulness=0.0, efficiency=0.0)


def label_candidates(
    outcomes: Sequence[Outcome],
    *,
    step: int,
    mean_length: float,
    accumulated_before: float = 0.0,
    remaining_before: float | None = None,
    rule: ReachRule = "majority",
    share_odds: bool = False,
) -> list[RolloutLabels]:
    """The labels of the candidates of one state.

    Args:
        outcomes: `[W]`, of the candidates.
        step: i, from 1: the place of the candidates on their path.
        mean_length: M > 0, mean length of the successful rollouts from the start.
        accumulated_before: AC_{i-1} of the path to the state.
        remaining_before: Len_{i-1} of the action that led to the state; M at the start.
        rule: What r is.
        share_odds: Whether all candidates get their mean odds, as upstream shares them among
            siblings (with one rollout each).

    Raises:
        ValueError: `mean_length` is not positive, `step` is below 1 or AC is outside of [0, 1].
    """
    if not mean_length > 0 or step < 1 or not 0 <= accumulated_before <= 1:
        raise ValueError(
            f"expected mean_length > 0, step >= 1 and accumulated in [0, 1], got {mean_length}, "
            f"{step} and {accumulated_before}"
        )
    odds = [odds_of_success(outcome) for outcome in outcomes]
    if share_odds and odds:
        odds = [sum(odds) / len(odds)] * len(odds)
    before = mean_length if remaining_before is None else remaining_before
    labels = []
    for outcome, share in zip(outcomes, odds, strict=True):
        after = remaining_length(outcome, mean_length)
        help_ = helpfulness(
            step=step,
            mean_length=mean_length,
            accumulated=accumulated_before,
            reached=reached(share, rule),
        )
        labels.append(
            RolloutLabels(
                helpfulness=help_,
                odds_of_success=share,
                efficiency=efficiency(before=before, after=after, mean_length=mean_length),
                accumulated=min(1.0, accumulated(accumulated_before, help_)),
                remaining=after,
            )
        )
    return labels
