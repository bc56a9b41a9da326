"""What a worker is made of, in plain values, so that any process can make one."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from similar_fast.baselines import LexicalScorer
from similar_fast.collect.settings import CollectSettings
from similar_fast.collect.worker import Worker
from similar_fast.protocols import Judge, Proposer, Scorer

__all__ = ["LlmSpec", "WorkerSpec"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LlmSpec:
    """A language model behind an OpenAI-compatible server; its key is in `OPENAI_API_KEY`.

    Attributes:
        url: The server's address, with the version.
        model: The model's name there.
        judges: Whether it labels task relevance and coherence.
        proposes: Whether it proposes the candidate actions.
    """

    url: str
    model: str
    judges: bool = False
    proposes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSpec:
    """Makes a worker on MiniWoB++ when it is called.

    Attributes:
        settings: How labels are collected.
        chromium: The browser's path; None looks for one.
        model: A reward model's folder, which then plays the rollouts and picks the candidates; None
            takes `LexicalScorer`.
        device: Where the model runs, as in `RewardModel`.
        llm: A language model that judges or proposes; None asks none.
    """

    settings: CollectSettings
    chromium: str | None = None
    model: Path | None = None
    device: str = "auto"
    llm: LlmSpec | None = None

    @property
    def policy(self) -> str:
        """The name of who plays the rollouts."""
        scorer = "lexical" if self.model is None else f"reward:{self.model.name}"
        proposer = ""
        if self.llm is not None and self.llm.proposes:
            proposer = f",proposer=llm:{self.llm.model}"
        return (
            f"{scorer}(T={self.settings.temperature:g},epsilon={self.settings.epsilon:g}{proposer})"
        )

    @property
    def fingerprint(self) -> str | None:
        """The reward model's, see `Manifest.fingerprint`; None without one.

        Raises:
            ModelError: The model's folder does not fit.
        """
        if self.model is None:
            return None
        from similar_fast.models.manifest import read_manifest  # noqa: PLC0415  # as the model itself

        return read_manifest(self.model, verify=False).fingerprint

    def __call__(self) -> Worker:
        """A worker with a browser of its own.

        Raises:
            EnvError: There is no Chromium.
            ModelError: The model's folder does not fit.
            ImportError: An extra is not installed.
        """
        from similar_fast.envs.miniwob import MiniWob  # noqa: PLC0415  # an extra

        scorer, model = self._scorer()
        judge, proposer, spent = self._llm()
        env = MiniWob(executable=self.chromium, proposer=proposer)
        versions = {"similar-fast": version("similar-fast"), **env.versions}
        return Worker(
            env,
            scorer,
            self.settings,
            policy=self.policy,
            judge=judge,
            spent=spent,
            model=model,
            versions=", ".join(f"{name}={found}" for name, found in sorted(versions.items())),
        )

    def _scorer(self) -> tuple[Scorer, str]:
        """Who plays, and the model's name and fingerprint."""
        if self.model is None:
            return LexicalScorer(), ""
        from similar_fast.reward.model import RewardModel  # noqa: PLC0415  # loads onnxruntime

        found = RewardModel(self.model, providers=self.device, threads=1)
        return found, f"{self.model.name}:{found.manifest.fingerprint[:8]}"

    def _llm(self) -> tuple[Judge | None, Proposer | None, Callable[[], dict[str, int]] | None]:
        """The judge and the proposer, where there are any, and what they have cost so far."""
        if self.llm is None:
            return None, None, None
        from similar_fast.llm import (  # noqa: PLC0415  # an extra
            ChatClient,
            LlmJudge,
            OpenAIProposer,
        )

        client = ChatClient(self.llm.url, self.llm.model)
        judge = LlmJudge(client) if self.llm.judges else None
        proposer = OpenAIProposer(client) if self.llm.proposes else None

        def spent() -> dict[str, int]:
            usage = client.usage
            return {
                "llm_requests": usage.calls,
                "llm_prompt_tokens": usage.prompt_tokens,
                "llm_completion_tokens": usage.completion_tokens,
                "judge_failures": 0 if judge is None else judge.failures,
            }

        return judge, proposer, spent
