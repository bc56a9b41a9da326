"""What one process does: units of work in, lines of labelled steps out."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from similar_fast.collect.episode import (
    Episode,
    LabelledStep,
    collect_episode,
)
from similar_fast.collect.policies import ScoreCache
from similar_fast.collect.proxies import PROXY_NAME
from similar_fast.collect.settings import CollectSettings, Target
from similar_fast.errors import EnvError, LlmError, ScorerError
from similar_fast.protocols import Environment, Judge, Scorer
from similar_fast.records import Labels, Platform, Provenance, StepRecord, encode_record, state_key
from similar_fast.types import JudgeCase, Judgement, Step

__all__ = ["MakeWorker", "Unit", "UnitResult", "Worker"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, order=True)
class Unit:
    """One episode to label.

    Attributes:
        task: The environment's name of the task.
        seed: The task's seed.
        targets: The actions to label; none leaves the choice to the settings.
    """

    task: str
    seed: int
    targets: tuple[Target, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class UnitResult:
    """What became of a unit.

    Attributes:
        unit: Which one.
        status: `labelled`, `skipped` (no rollout reached the goal) or `failed`.
        lines: One line a labelled step, without line breaks.
        num_sampled: How many of them were labelled on purpose.
        success: Whether a greedy walk reached the goal; None in a tree.
        mean_length: Mean length of the successful rollouts from the start; None where there are
            none.
        counts: What it cost, by the names of `Counts`, and what a language model cost; only the
            latter where it failed.
        seconds: Wall time.
        error: Why it failed; empty otherwise.
    """

    unit: Unit
    status: str
    lines: tuple[bytes, ...] = ()
    num_sampled: int = 0
    success: bool | None = None
    mean_length: float | None = None
    counts: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    error: str = ""


class Worker:
    """Labels one unit after another, with an environment and a scorer of its own.

    Args:
        env: The environment; closed with this object.
        scorer: Plays the rollouts and picks the candidates.
        settings: How labels are collected.
        policy: The scorer's name, for the provenance.
        judge: Labels task relevance and coherence; None takes the programmatic proxies.
        spent: What a language model has cost so far, by name; None where there is none.
        platform: The platform that the records name.
        model: The model's name, for the provenance; empty where there is none.
        versions: Every program that takes part, as in `Provenance.versions`.
    """

    def __init__(
        self,
        env: Environment,
        scorer: Scorer,
        settings: CollectSettings,
        *,
        policy: str,
        judge: Judge | None = None,
        spent: Callable[[], Mapping[str, int]] | None = None,
        platform: Platform = "web",
        model: str = "",
        versions: str = "",
    ) -> None:
        self._env = env
        self._cache = ScoreCache(scorer)
        self._settings = settings
        self._policy = policy
        self._judge = judge
        self._spent = spent or dict
        self._platform = platform
        self._model = model
        self._versions = versions

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the environment."""
        self._env.close()

    def label(self, unit: Unit) -> UnitResult:
        """The unit's labelled steps; whatever fails fails this unit alone."""
        before, started = self._spent(), time.perf_counter()

        def spent() -> dict[str, int]:
            return {name: count - before[name] for name, count in self._spent().items()}

        try:
            episode = collect_episode(
                self._env,
                unit.task,
                seed=unit.seed,
                settings=self._settings,
                cache=self._cache,
                targets=unit.targets,
            )
            records = self._records(episode)
        except Exception as error:
            if not isinstance(error, EnvError | LlmError | ScorerError):
                logger.exception("%s/%s failed: this is a bug", unit.task, unit.seed)
            return UnitResult(
                unit,
                "failed",
                counts=spent(),
                seconds=time.perf_counter() - started,
                error=f"{type(error).__name__}: {error}",
            )
        return UnitResult(
            unit,
            episode.status,
            tuple(encode_record(record) for record in records),
            sum(step.edge.is_sampled for step in episode.steps),
            episode.success,
            episode.mean_length if episode.mean_length > 0 else None,
            {**episode.counts.to_dict(), **spent()},
            episode.seconds,
        )

    def _records(self, episode: Episode) -> list[StepRecord]:
        judged = self._judged(episode.steps)
        return [
            self._record(episode, step, judgement)
            for step, judgement in zip(episode.steps, judged, strict=True)
        ]

    def _judged(self, steps: Sequence[LabelledStep]) -> Sequence[Judgement]:
        if self._judge is None:
            return [Judgement(step.task_relevance, step.coherence) for step in steps]
        return self._judge.judge([JudgeCase(_step(step), len(step.path) + 1) for step in steps])

    def _record(self, episode: Episode, step: LabelledStep, judgement: Judgement) -> StepRecord:
        where = [(a.kind, *a.target, a.argument) for a in step.path]
        text = _step(step)
        return StepRecord(
            environment=self._env.name,
            platform=self._platform,
            task=episode.task,
            seed=episode.seed,
            trajectory=f"{episode.task}/{episode.seed}",
            state=state_key(self._env.name, episode.task, episode.seed, where),
            step=len(step.path) + 1,
            instruction=text.instruction,
            history=text.history,
            observation=text.observation,
            action=text.action,
            is_final=step.edge.is_final,
            labels=Labels(
                helpfulness=_rounded(step.labels.helpfulness),
                odds_of_success=_rounded(step.labels.odds_of_success),
                efficiency=_rounded(step.labels.efficiency),
                task_relevance=judgement.task_relevance,
                coherence=judgement.coherence,
            ),
            provenance=Provenance(
                source="collect",
                policy=self._policy,
                judge=PROXY_NAME if self._judge is None else self._judge.name,
                rollouts=step.edge.rollouts,
                successes=step.edge.successes,
                remaining=_rounded(step.labels.remaining) if step.edge.successes else None,
                diverged=step.edge.diverged,
                model=self._model,
                versions=self._versions,
            ),
        )


def _step(step: LabelledStep) -> Step:
    """The step as a scorer and a judge read it."""
    observation = step.state.observation
    return Step(
        observation.instruction,
        tuple(str(action) for action in step.path),
        str(step.action),
        observation.text,
    )


def _rounded(value: float) -> float:
    """Six decimals, and no negative zero: the labels are shares of a few rollouts."""
    return round(value, 6) + 0.0


MakeWorker = Callable[[], Worker]
"""Makes a worker where it runs; sent to other processes, so it must be picklable."""
