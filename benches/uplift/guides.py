"""Who scores: opened once a process, and told apart by a fingerprint in the rows."""

import gc
import hashlib
import json
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from similar_fast.baselines import ConstantScorer, LexicalScorer
from similar_fast.embedding import EmbeddingScorer
from similar_fast.models.manifest import read_manifest
from similar_fast.models.shipped import shipped_model
from similar_fast.protocols import Environment, Scorer
from similar_fast.reward.model import RewardModel
from similar_fast.scoring import candidate_steps
from similar_fast.types import Action, Step
from uplift.plan import CONSTANT, EMBEDDING, HEURISTIC

__all__ = ["Guides", "digest_of_steps", "probe"]

_STATE_CACHE_BYTES = 256 * 2**20
_PROBE_STEPS = 3
_DIGITS = 5


class Guides:
    """The scorers of the arms; one that holds a model is open at a time.

    A scorer is shared by all threads of the process, and runs one thread an operation.

    Args:
        models: The folders of reward models, by name.
        steps: What `probe` found, to tell baselines apart by what they score.
    """

    def __init__(self, models: Mapping[str, Path], steps: Sequence[Step]) -> None:
        self._models = models
        self._steps = steps
        self._open: tuple[str, Scorer] | None = None

    def scorer(self, guide: str) -> Scorer:
        """The scorer of this name.

        Raises:
            ModelError: Its folder holds no such model.
        """
        if self._open is None or self._open[0] != guide:
            self._open = None  # its session goes before the next one comes
            gc.collect()
            self._open = (guide, self._make(guide))
        return self._open[1]

    def _make(self, guide: str) -> Scorer:
        if guide == HEURISTIC:
            return LexicalScorer()
        if guide == CONSTANT:
            return ConstantScorer()
        if guide == EMBEDDING:
            return EmbeddingScorer(threads=1, providers="cpu")
        return RewardModel(
            self._models[guide],
            threads=1,
            providers="cpu",
            state_cache_bytes=_STATE_CACHE_BYTES,
        )

    def fingerprint(self, guide: str) -> str:
        """8 hex characters, equal for scorers that score alike.

        A model's is of its manifest; that of a baseline without a model is of its own scores.

        Raises:
            ModelError: The folder holds no model.
        """
        if guide in (HEURISTIC, CONSTANT):
            totals = self._make(guide).score(self._steps).total.astype(float).tolist()
            text = json.dumps([round(total, _DIGITS) for total in totals])
            return hashlib.sha256(text.encode()).hexdigest()[:8]
        folder = shipped_model("embedding") if guide == EMBEDDING else self._models[guide]
        return read_manifest(folder, verify=False).fingerprint[:8]


def probe(env: Environment, pairs: Iterable[tuple[str, int]]) -> list[Step]:
    """Every step that a scorer is shown on a short seeded walk through each (task, seed)."""
    steps: list[Step] = []
    for task, seed in pairs:
        rng = random.Random(f"{task}:{seed}")  # noqa: S311  # a walk, no secret
        observation = env.reset(task, seed=seed)
        history: list[Action] = []
        while candidates := env.candidates():
            steps += candidate_steps(observation, candidates, history)
            if len(history) == _PROBE_STEPS:
                break
            action = rng.choice(list(candidates))
            result = env.step(action)
            history.append(action)
            observation = result.observation
            if result.is_done:
                break
    return steps


def digest_of_steps(steps: Iterable[Step]) -> str:
    """8 hex characters, equal where the same candidates are offered in the same words."""
    digest = hashlib.sha256()
    for step in steps:
        parts = [step.instruction, *step.history, step.action, step.observation]
        digest.update(json.dumps(parts).encode() + b"\n")
    return digest.hexdigest()[:8]
