"""What a worker is made of, in plain values, so that any process can make one."""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from similar_fast.baselines import LexicalScorer
from similar_fast.collect.episode import CollectSettings
from similar_fast.collect.worker import Worker
from similar_fast.protocols import Scorer

__all__ = ["WorkerSpec"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSpec:
    """Makes a worker on MiniWoB++ when it is called.

    Attributes:
        settings: How labels are collected.
        chromium: The browser's path; None looks for one.
        model: A reward model's folder, which then plays the rollouts and picks the candidates; None
            takes `LexicalScorer`.
        device: Where the model runs, as in `RewardModel`.
    """

    settings: CollectSettings
    chromium: str | None = None
    model: Path | None = None
    device: str = "auto"

    @property
    def policy(self) -> str:
        """The name of who plays the rollouts."""
        scorer = "lexical" if self.model is None else f"reward:{self.model.name}"
        return f"{scorer}(T={self.settings.temperature:g},epsilon={self.settings.epsilon:g})"

    def __call__(self) -> Worker:
        """A worker with a browser of its own.

        Raises:
            EnvError: There is no Chromium.
            ModelError: The model's folder does not fit.
            ImportError: An extra is not installed.
        """
        from similar_fast.envs.miniwob import MiniWob  # noqa: PLC0415  # an extra

        scorer, model = self._scorer()
        env = MiniWob(executable=self.chromium)
        versions = {"similar-fast": version("similar-fast"), **env.versions}
        return Worker(
            env,
            scorer,
            self.settings,
            policy=self.policy,
            model=model,
            versions=", ".join(f"{name}={found}" for name, found in sorted(versions.items())),
        )

    def _scorer(self) -> tuple[Scorer, str]:
        """Who plays, and the model's name and fingerprint."""
        if self.model is None:
            return LexicalScorer(), ""
        from similar_fast.reward import RewardModel  # noqa: PLC0415  # loads onnxruntime

        found = RewardModel(self.model, providers=self.device, threads=1)
        return found, f"{self.model.name}:{found.manifest.fingerprint[:8]}"
