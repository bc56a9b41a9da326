"""How labels are collected, and which actions where not all are asked for."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from similar_fast.collect.labels import ReachRule

__all__ = ["CollectSettings", "IdleRule", "Target"]

Mode = Literal["tree", "greedy"]
IdleRule = Literal["label", "skip"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectSettings:
    """How labels are collected.

    Attributes:
        mode: `tree`, a search by the weighted sum of the labels; `greedy`, W candidates a step and
            on with the best of them, as the published procedure.
        rollouts: K, rollouts of an action at most.
        min_rollouts: Rollouts after which an action is settled if all of them agree; `rollouts` for
            exactly K.
        root_rollouts: Rollouts from the start at most; an episode without a success is skipped.
        root_successes: Successes from the start after which no more are played.
        width: W, candidates of a state that are labelled on purpose.
        num_simulations: Actions that a tree labels on purpose.
        max_steps: Actions of a rollout at most.
        c_puct: How widely a tree looks.
        temperature: Of the rollout policy, in its scorer's scale; above 0.
        epsilon: Share of uniform choices in every second rollout, in [0, 1].
        rule: What counts as reached in helpfulness.
        idle: Whether an action that changed nothing is labelled by what is known of its state, or
            left out.
        budget: Environment steps of an episode, at most; None for no limit.
        draws: Seeds all chance.

    Raises:
        ValueError: A count is below 1, `min_rollouts` above `rollouts`, or another number out of
            its range.
    """

    mode: Mode = "tree"
    rollouts: int = 4
    min_rollouts: int = 2
    root_rollouts: int = 12
    root_successes: int = 4
    width: int = 6
    num_simulations: int = 24
    max_steps: int = 8
    c_puct: float = 1.25
    temperature: float = 0.08
    epsilon: float = 0.5
    rule: ReachRule = "majority"
    idle: IdleRule = "label"
    budget: int | None = None
    draws: int = 0

    def __post_init__(self) -> None:
        for name in (
            "rollouts",
            "min_rollouts",
            "root_rollouts",
            "root_successes",
            "width",
            "num_simulations",
            "max_steps",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.min_rollouts > self.rollouts:
            raise ValueError(
                f"min_rollouts must not exceed rollouts, got {self.min_rollouts} > {self.rollouts}"
            )
        if self.budget is not None and self.budget < 1:
            raise ValueError(f"budget must be at least 1, got {self.budget}")
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"temperature must be above 0 and finite, got {self.temperature}")
        if not 0 <= self.epsilon <= 1:
            raise ValueError(f"epsilon must be in [0, 1], got {self.epsilon}")
        if not 0 <= self.c_puct <= 1e30:
            raise ValueError(f"c_puct must be from 0 to 1e30, got {self.c_puct}")

    def to_dict(self) -> dict[str, Any]:
        """The settings by name, fit for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> "CollectSettings":
        """What `to_dict` gave.

        Raises:
            TypeError: A name is unknown.
        """
        return cls(**settings)


@dataclass(frozen=True, slots=True)
class Target:
    """An action that is to be labelled, in words, as another collection has written it.

    Attributes:
        history: The actions before it, oldest first.
        action: The action.
    """

    history: tuple[str, ...]
    action: str
