"""The arms of the evaluation as data: who plays, by what scores, with which settings."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

from similar_fast.collect.settings import CollectSettings

__all__ = [
    "BASELINES",
    "BUDGETS",
    "CONSTANT",
    "EMBEDDING",
    "HEURISTIC",
    "MAX_STEPS",
    "ORACLE",
    "SEARCH",
    "SHUFFLED",
    "Arm",
    "SearchSettings",
    "choose_arms",
    "make_arms",
    "row_name",
]

MAX_STEPS = 8
"""Actions of an episode at most, for every arm."""

BUDGETS = (32, 128)
"""Environment steps of a search at most, replays included."""

HEURISTIC, EMBEDDING, CONSTANT, SHUFFLED = "heuristic", "embedding", "constant", "shuffled"
_TEMPERATURE = 0.08
_MODEL = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_TRAINING_SEED = re.compile(r"-s\d+$")

BASELINES = (HEURISTIC, EMBEDDING, CONSTANT, SHUFFLED)
"""Guides that no trained model may be called."""

_RESERVED = ("random", "oracle", *BASELINES)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSettings:
    """What every searching arm has in common, whoever guides it; `Search` tells what each means.

    Tuned on the validation seeds 2000-2019 and on no other.
    """

    seed: int = 0
    num_simulations: int = 512
    max_batch_size: int = 16
    policy: str = "puct"
    c_puct: float = 1.0
    backup: str = "mean"
    backup_value: str = "mix"
    prior_temperature: float = 1.0
    greedy_first: bool = True
    greedy_margin: float = 0.1
    ending_value: str = "mean"
    commit: str = "ending"
    merge: bool = True
    solve: bool = True
    early_stop: bool = True


SEARCH = SearchSettings()
"""The settings of the searching arms."""

ORACLE = CollectSettings(mode="greedy", max_steps=MAX_STEPS, root_rollouts=48, width=10)
"""The rollouts of the oracle; `LexicalScorer` plays them.

More than a collection plays, which gives up where 12 rollouts from the start fail. The oracle still
gives up where 48 do, so a better guide may pass it there.
"""


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to play.

    Attributes:
        name: What the tables and the arm's file are called.
        player: `random`; `policy`, which does not look ahead; `search`; or `oracle`, a greedy walk
            along labels from rollouts whose rewards it sees, or where that fails a rollout that
            reached the goal. The oracle peeks.
        guide: Who scores: a baseline's or a model's name; None for nobody.
        temperature: Of a policy: 0 takes the best candidate.
        guard: Of a policy: whether no action is taken twice on the same screen.
        budget: Of a search, in environment steps.
    """

    name: str
    player: Literal["random", "policy", "search", "oracle"]
    guide: str | None = None
    temperature: float = 0.0
    guard: bool = True
    budget: int | None = None

    def settings(self) -> dict[str, Any]:
        """Every setting that changes what is played, for the name of the arm's rows."""
        if self.player == "policy":
            return {"temperature": self.temperature, "guard": self.guard}
        if self.player == "search":
            return {"budget": self.budget, **asdict(SEARCH)}
        if self.player == "oracle":
            return {**ORACLE.to_dict(), "else": "rollout"}
        return {}


def make_arms(models: Sequence[str], *, has_shuffled: bool) -> list[Arm]:
    """Every arm, those of one guide side by side.

    Args:
        models: The names of the trained models; `NAME-s0`, `NAME-s1` are two training seeds of one.
        has_shuffled: Whether there is a model trained on shuffled labels.

    Raises:
        ValueError: A name is not fit for a file, stands there twice, is a baseline's, or is another
            model's without its training seed.
    """
    for name in models:
        if not _MODEL.fullmatch(name) or name in _RESERVED:
            raise ValueError(
                f"a model is called {name!r}; expected lower-case words with dashes, and none of "
                f"{', '.join(_RESERVED)}"
            )
    if len(set(models)) < len(models):
        raise ValueError(f"a model's name stands there twice: {', '.join(models)}")
    means = {_TRAINING_SEED.sub("", name) for name in models if _TRAINING_SEED.search(name)}
    if taken := sorted(means & set(models)):
        raise ValueError(f"{taken[0]!r} is a model, and the mean of {taken[0]}-s0 and its like")
    arms = [
        Arm("random", "random"),
        Arm("heuristic-sampled", "policy", HEURISTIC, temperature=_TEMPERATURE, guard=False),
        Arm("heuristic-argmax", "policy", HEURISTIC),
        *_searches(HEURISTIC),
        Arm("embedding-greedy", "policy", EMBEDDING),
        *_searches(EMBEDDING),
        *_searches(CONSTANT),
    ]
    if has_shuffled:
        arms += _searches(SHUFFLED)
    for name in models:
        arms += [
            Arm(f"{name}-greedy", "policy", name, guard=False),
            Arm(f"{name}-guard", "policy", name),
            *_searches(name),
        ]
    return [*arms, Arm("oracle", "oracle", HEURISTIC)]


def _searches(guide: str) -> list[Arm]:
    return [Arm(f"{guide}-search-{steps}", "search", guide, budget=steps) for steps in BUDGETS]


def choose_arms(arms: Sequence[Arm], patterns: Sequence[str]) -> list[Arm]:
    """The arms that match one of `patterns` (`all`, a name, or `mini-*`), in the plan's order.

    Raises:
        ValueError: A pattern matches no arm.
    """
    chosen: set[str] = set()
    for pattern in patterns:
        found = {arm.name for arm in arms if pattern == "all" or fnmatchcase(arm.name, pattern)}
        if not found:
            names = ", ".join(arm.name for arm in arms)
            raise ValueError(f"no arm is called {pattern!r}; there are {names}")
        chosen |= found
    return [arm for arm in arms if arm.name in chosen]


def row_name(arm: Arm, what: Mapping[str, Any]) -> str:
    """The arm's name in its rows: whatever changes what is played stands in it.

    Args:
        arm: The arm.
        what: What its settings do not tell: the environment, the screens, the guide's fingerprint.
    """
    parts = {**what, "max_steps": MAX_STEPS, **arm.settings()}
    return f"{arm.name}({','.join(f'{name}={value}' for name, value in parts.items())})"
