"""A scorer as a reward function for TRL's online trainers, GRPO and RLOO."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from similar_fast.dimensions import Dimension, parse_types
from similar_fast.protocols import Scorer
from similar_fast.rl.completions import action_of, chosen_of, completion_text
from similar_fast.rl.named_scores import value_columns
from similar_fast.steps_file import read_screenshot
from similar_fast.types import Step

__all__ = ["RewardFunction"]

logger = logging.getLogger(__name__)

_NO_STEP = "the row has no instruction, or a history that is no list"


class RewardFunction:
    """Rewards each completion with the score of the action that it is.

    Hand it to `GRPOTrainer` or `RLOOTrainer` as `reward_funcs`. The state is read from the columns
    of the dataset, which `prompt_rows` writes:

    | column | what it holds |
    |---|---|
    | `instruction` | the task in words; must be there |
    | `history` | the actions done, oldest first; none where it is missing or None |
    | `observation` | the screen in words; empty where it is missing or None |
    | `screenshot` | a path or the bytes of a picture; None where there is none |
    | `candidates` | the actions to choose from; where it names some, only those are actions |

    All other columns are left alone. The prompt's text is not read.

    A completion is malformed where `parse` finds no action in it, or one that is no candidate; its
    reward is `floor`. A well-formed one that cannot be scored (a broken picture, a text that the
    model cannot hold) has None, which TRL takes for "no reward": its advantage is 0. Neither
    touches its neighbours. One call of this object is one call of the scorer, unless a step fails.

    Attributes:
        __name__: `similar_` and the dimension's name, as TRL logs it: `rewards/similar_total/mean`.
    """

    def __init__(
        self,
        scorer: Scorer,
        *,
        dimension: Dimension | str | None = None,
        scale: tuple[float, float] | None = None,
        floor: float | None = None,
        parse: Callable[[str], str | None] = action_of,
    ) -> None:
        """Wraps a scorer.

        Args:
            scorer: Any: a `RewardModel`, a `LexicalScorer`, a `BatchingScorer` over either.
            dimension: What is rewarded, by name or symbol (`odds of success`, `OS`); None for the
                total.
            scale: (low, high): the reward is (score - low) / (high - low), cut to [0, 1]. None
                leaves scores as they are, which is enough where it is the only reward: GRPO and
                RLOO compare the completions of one prompt.
            floor: The reward of a malformed completion, in the scale of the others; None for no
                reward, so that malformed completions are neither wanted nor unwanted.
            parse: Makes an action of a completion's text, or None.

        Raises:
            ValueError: The dimension is none of a step, or `scale` is no (low, high).
        """
        self._kind = _dimension(dimension)
        if scale is not None and not -float("inf") < scale[0] < scale[1] < float("inf"):
            raise ValueError(f"scale is {scale}; expected (low, high) with low < high")
        self._scorer = scorer
        self._scale = scale
        self._floor = floor
        self._parse = parse
        self.__name__ = f"similar_{self._kind.name.lower()}"

    def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Sequence[Any] | None = None,
        **columns: Any,  # noqa: ANN401  # whatever the dataset holds
    ) -> list[float | None]:
        """The rewards of `completions`, in their order; None for one without a reward.

        Args:
            prompts: `[n]`; not read.
            completions: `[n]`, strings or lists of messages.
            completion_ids: Not read.
            columns: `[n]` each, see the class; also TRL's `log_metric`, which is told the shares of
                malformed and of failed completions.

        Raises:
            ScorerError: A dimension is asked for and the scorer gives none.
            ValueError: The column `instruction` is missing, or a column has another length.
        """
        del prompts, completion_ids
        n = len(completions)
        rows = _Rows(columns, n)
        actions = [self._action(completions[i], rows.candidates(i)) for i in range(n)]
        rewards: list[float | None] = [
            self._floor if action is None else None for action in actions
        ]
        steps: dict[int, Step] = {}
        for i, action in enumerate(actions):
            if action is not None and (step := rows.step(i, action)) is not None:
                steps[i] = step
        found = value_columns(self._scorer, list(steps.values()), kinds=[self._kind])
        for k, i in enumerate(steps):
            if k not in found.errors:
                rewards[i] = self._scaled(float(found.values[k, 0]))
        malformed = sum(action is None for action in actions)
        failed = n - malformed - len(steps) + len(found.errors)
        if failed:
            reason = found.errors[min(found.errors)] if found.errors else _NO_STEP
            logger.warning("%d of %d completions have no reward; the first: %s", failed, n, reason)
        self._log(columns.get("log_metric"), malformed / max(n, 1), failed / max(n, 1))
        return rewards

    def _action(self, completion: object, candidates: Sequence[str]) -> str | None:
        text = completion_text(completion)
        action = None if text is None else self._parse(text)
        return chosen_of(action, candidates) if action and candidates else action or None

    def _scaled(self, value: float) -> float:
        if self._scale is None:
            return value
        low, high = self._scale
        return min(max((value - low) / (high - low), 0.0), 1.0)

    def _log(self, log_metric: object, malformed: float, failed: float) -> None:
        if callable(log_metric):
            log_metric(f"{self.__name__}/malformed", malformed)
            log_metric(f"{self.__name__}/failed", failed)


class _Rows:
    """The columns of one call, read a row at a time; what does not fit a step makes none."""

    def __init__(self, columns: Mapping[str, Any], n: int) -> None:
        if "instruction" not in columns:
            names = ", ".join(sorted(columns)) or "none"
            raise ValueError(f"the columns are {names}; expected instruction, as prompt_rows has")
        self._columns = {
            name: columns[name]
            for name in ("instruction", "history", "observation", "screenshot", "candidates")
            if columns.get(name) is not None
        }
        for name, column in self._columns.items():
            if len(column) != n:
                raise ValueError(f"the column {name} has {len(column)} rows; expected {n}")
        # One function a picture: steps of one state then share it.
        self._pictures: dict[str | bytes, Callable[[], bytes]] = {}

    def candidates(self, i: int) -> Sequence[str]:
        return [text for text in self._value("candidates", i) or () if isinstance(text, str)]

    def step(self, i: int, action: str) -> Step | None:
        """The step of row `i`; None where it has no instruction, or a history that is a text."""
        instruction, history = self._value("instruction", i), self._value("history", i)
        if not isinstance(instruction, str) or isinstance(history, str):
            return None
        return Step(
            instruction,
            tuple(map(str, history or ())),
            action,
            str(self._value("observation", i) or ""),
            self._picture(self._value("screenshot", i)),
        )

    def _value(self, name: str, i: int) -> Any:  # noqa: ANN401  # as the columns
        return self._columns[name][i] if name in self._columns else None

    def _picture(self, given: object) -> Callable[[], bytes] | None:
        if given is None or given == "":
            return None
        key = given if isinstance(given, str | bytes) else str(given)
        if key not in self._pictures:
            self._pictures[key] = (
                partial(bytes, key)
                if isinstance(key, bytes)
                else partial(read_screenshot, Path(key))
            )
        return self._pictures[key]


def _dimension(given: Dimension | str | None) -> Dimension:
    """The dimension of that name; the total where none is given.

    Raises:
        ValueError: It is none that a step has.
    """
    if given is None:
        return Dimension.TOTAL
    kinds = parse_types(given)
    if len(kinds) > 1 or kinds[0] is Dimension.TRAJECTORY:
        raise ValueError(f"the dimension is {given!s}; expected one that a step has")
    return kinds[0]
