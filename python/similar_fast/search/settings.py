"""What a `Search` was made with, and what it says of itself while it runs."""

from dataclasses import dataclass
from math import inf, isfinite
from typing import Literal, TypeAlias, get_args

from similar_fast.dimensions import DIMENSIONS
from similar_fast.search.cursor import Path

__all__ = ["CancelledRunError", "RunPolicy", "RunSettings", "SearchProgress", "resolve_policy"]

RunPolicy: TypeAlias = Literal[
    "auto", "puct", "uct", "gumbel", "best_first", "beam", "abmcts", "widening"
]

# Simulations up to which Gumbel's plan beats a search without one; see docs/decisions.
_GUMBEL_SIMULATIONS = 200
_MAX_DEPTH = 65_535


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What `Search` was made with; its docstring tells what each one means."""

    num_simulations: int
    max_batch_size: int
    seed: int
    budget: int | None
    max_seconds: float | None
    max_scorer_calls: int | None
    max_depth: int
    policy: RunPolicy
    c_puct: float
    beam_width: int
    backup: Literal["mean", "max"]
    backup_value: Literal["edge", "screen", "mix"]
    weights: tuple[float, float, float, float, float] | None
    prior_temperature: float
    greedy_first: bool
    greedy_margin: float
    ending_value: Literal["last", "mean"]
    commit: Literal["ending", "visits"]
    merge: bool
    solve: bool
    early_stop: bool
    max_nbytes: int | None
    screenshots: bool

    def __post_init__(self) -> None:
        self._check_counts()
        self._check_numbers()
        for name, accepted in (
            ("policy", get_args(RunPolicy)),
            ("backup", ("mean", "max")),
            ("backup_value", ("edge", "screen", "mix")),
            ("ending_value", ("last", "mean")),
            ("commit", ("ending", "visits")),
        ):
            if getattr(self, name) not in accepted:
                raise ValueError(f"{name} must be one of {accepted}, got {getattr(self, name)!r}")

    def _check_counts(self) -> None:
        for name in ("seed", "num_simulations", "max_batch_size", "max_depth", "beam_width"):
            count = getattr(self, name)
            if not hasattr(count, "__index__"):
                raise TypeError(f"{name} must be a whole number, got {count!r}")
            if name != "seed" and count < 1:
                raise ValueError(f"{name} must be at least 1, got {count}")

    def _check_numbers(self) -> None:
        for name in ("budget", "max_seconds", "max_scorer_calls", "max_nbytes"):
            limit = getattr(self, name)
            if limit is not None and not limit >= 0:
                raise ValueError(f"{name} must not be negative, got {limit}")
        if self.max_depth >= _MAX_DEPTH:
            raise ValueError(f"max_depth must be below {_MAX_DEPTH}, got {self.max_depth}")
        for name in ("c_puct", "greedy_margin"):
            if not 0 <= getattr(self, name) < inf:
                raise ValueError(f"{name} must be finite and at least 0, got {getattr(self, name)}")
        if self.weights is not None and not (
            len(self.weights) == len(DIMENSIONS) and all(map(isfinite, self.weights))
        ):
            raise ValueError(
                f"weights must be {len(DIMENSIONS)} finite numbers, got {self.weights}"
            )
        if not 0 < self.prior_temperature < inf:
            raise ValueError(
                f"prior_temperature must be finite and above 0, got {self.prior_temperature}"
            )

    @property
    def chosen_policy(self) -> RunPolicy:
        """The policy, `auto` resolved by the number of simulations."""
        return resolve_policy(self.policy, self.num_simulations)


def resolve_policy(policy: RunPolicy, num_simulations: int) -> RunPolicy:
    """The policy itself, or what `auto` stands for with so many simulations."""
    if policy != "auto":
        return policy
    return "gumbel" if num_simulations <= _GUMBEL_SIMULATIONS else "puct"


@dataclass(frozen=True, slots=True)
class SearchProgress:
    """How far a search is.

    Attributes:
        num_simulations: Simulations completed.
        max_simulations: Simulations at most.
        env_steps: Environment steps sent.
        budget: Environment steps at most, or None.
        seconds: Wall time since the search began.
        best: The actions it would commit now.
    """

    num_simulations: int
    max_simulations: int
    env_steps: int
    budget: int | None
    seconds: float
    best: Path


class CancelledRunError(Exception):
    """The caller asked the run to stop; raised before the next step is sent."""
