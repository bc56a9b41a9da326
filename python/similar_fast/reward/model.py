"""`RewardModel`: the Similar reward model as a scorer.

One score, from top to bottom: `features` turns steps into what the heads read, the heads judge, and
this file puts the rows where they belong.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from similar_fast.dimensions import DIMENSIONS
from similar_fast.errors import InferenceError, SimilarFastError
from similar_fast.kept import CacheStats
from similar_fast.models.manifest import Manifest, RewardSpec, read_manifest
from similar_fast.models.runtime import Provider
from similar_fast.models.shipped import reward_folder
from similar_fast.prompts import PromptWriter
from similar_fast.reward.backbone import Backbone
from similar_fast.reward.features import FeatureReader, Features
from similar_fast.reward.lexical_prior import add_lexical_prior
from similar_fast.reward.pictures import PictureReader
from similar_fast.reward.state_cache import StateCache
from similar_fast.reward.states import StateRunner
from similar_fast.reward.vision import open_vision
from similar_fast.scoring import ranked
from similar_fast.types import Ranked, Scores, Step

__all__ = ["RewardModel", "RewardStats", "ScoredRows"]

_MIB = 2**20
_CPU_TOKENS, _CUDA_TOKENS = 256, 4096  # of candidates in one run
_CPU_PREFIX_TOKENS, _CUDA_PREFIX_TOKENS = 256, 4096


@dataclass(frozen=True, slots=True)
class RewardStats:
    """What a model did so far.

    Attributes:
        states: The cache of keys and values.
        pictures: The cache of screenshots.
        scored_steps: Steps that were scored.
        tokens_run: Tokens that went through the decoder; without any sharing it would have been
            the lengths of all prompts.
        tokens_asked: The lengths of all prompts.
        num_cut: Tokens that did not fit the model's positions and were left out.
    """

    states: CacheStats
    pictures: CacheStats
    scored_steps: int
    tokens_run: int
    tokens_asked: int
    num_cut: int


@dataclass(frozen=True, slots=True, eq=False)
class ScoredRows:
    """The scores of n steps of which some may have failed.

    Attributes:
        scores: `total` `[n]`, `dims` and `weights` `[n, 5]`; NaN where a step failed.
        errors: Why, by the step's index.
        num_cut: `[n]` int64, tokens of each step's state that did not fit the model's positions.
    """

    scores: Scores
    errors: Mapping[int, SimilarFastError]
    num_cut: NDArray[np.int64]


class RewardModel:
    """The Similar reward model, a `Scorer` of five dimensions and a gated total.

    For each step, h is the last hidden state of the prompt with the action, p that of the token
    where the action's turn begins; then

        dims r = W h,   weights g = softmax(MLP(p) / T) * s,   total R = g . r

    with W, MLP, T = temperature and s = logit_scale from the heads. Where the heads have a lexical
    prior, the words that the action shares with the instruction count in task relevance.

    What the candidates of a screen share is run once: the screenshot, then the prompt up to the
    action, whose keys and values are kept; the candidates follow in one run with an ancestor mask.

    A step's score is the same alone and in any batch, within 1e-5 in float32, and to the bit where
    `deterministic` is set. Safe to use from many threads.

    Source: Miao et al. 2025, section 4 (the heads); sharing by an ancestor mask is the tree
    attention of Miao et al. 2024 (SpecInfer), section 4.2.

    Attributes:
        manifest: What the folder holds.
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        *,
        providers: str | Sequence[Provider] = "auto",
        threads: int | None = None,
        verify: bool = True,
        deterministic: bool = False,
        max_batch_tokens: int | None = None,
        state_cache_bytes: int = 1024 * _MIB,
        picture_cache_bytes: int | None = None,
        max_pixels: int = 50_000_000,
    ) -> None:
        """Opens a model's folder.

        Args:
            folder: What `similar-fast-export` wrote; None or `similar-mini` for the one in the
                installed package `similar_fast_mini`.
            providers: As `open_session` takes them; also `cpu`, `cuda` or `cuda:1`.
            threads: Threads within one operator on the CPU; None leaves it to onnxruntime.
            verify: Whether to read every file and compare its sha256; O(bytes).
            deterministic: Whether a score's bits may depend on its own step alone, at the cost of
                one run a candidate.
            max_batch_tokens: Most tokens of candidates in one run, at least 1; None for 256 on the
                CPU and 4,096 on CUDA.
            state_cache_bytes: Keys and values to keep, at least 0.
            picture_cache_bytes: Screenshots' vision states to keep, at least 0; None for 256 MiB,
                or for four screenshots where one takes more than a quarter of that (mllama).
            max_pixels: Largest screenshot; a larger one is a `DataError`.

        Raises:
            ModelError: The folder holds no reward model, a file of it is missing or altered, or no
                folder was named and the package is not installed.
            InferenceError: No session can be made, see `open_session`.
            ValueError: An argument is out of its range.
        """
        for name, value, least in (
            ("max_batch_tokens", max_batch_tokens, 1),
            ("state_cache_bytes", state_cache_bytes, 0),
            ("picture_cache_bytes", picture_cache_bytes, 0),
            ("max_pixels", max_pixels, 1),
        ):
            if value is not None and value < least:
                raise ValueError(f"{name} is {value}; expected at least {least}")
        folder = reward_folder(folder)
        self.manifest: Manifest = read_manifest(folder, verify=verify)
        self._backbone = Backbone(folder, self.manifest, providers=providers, threads=threads)
        self._vision = open_vision(self._backbone)
        if picture_cache_bytes is None:
            picture_cache_bytes = max(256 * _MIB, 4 * _cross_bytes(self._backbone.spec))
        self._pictures = PictureReader(
            self._vision, cache_bytes=picture_cache_bytes, max_pixels=max_pixels
        )
        writer = PromptWriter(
            self._backbone.spec.prompt,
            folder / "tokenizer.json",
            max_positions=self.manifest.max_positions,
            image_token=self._vision.token,
        )
        self._cache = StateCache(
            state_cache_bytes,
            shares_beginnings=not deterministic
            and self._backbone.spec.decoder.attention == "causal",
        )
        is_on_cpu = self._backbone.device is None
        if max_batch_tokens is None:
            max_batch_tokens = _CPU_TOKENS if is_on_cpu else _CUDA_TOKENS
        self._runner = StateRunner(
            self._backbone,
            self._cache,
            max_batch_tokens=max_batch_tokens,
            max_prefix_tokens=_CPU_PREFIX_TOKENS if is_on_cpu else _CUDA_PREFIX_TOKENS,
            deterministic=deterministic,
        )
        self._reader = FeatureReader(
            writer,
            self._pictures,
            self._vision,
            self._runner,
            hidden_size=self.manifest.hidden_size,
        )

    @classmethod
    def from_pretrained(cls, folder: str | Path | None = None, **options: Any) -> Self:  # noqa: ANN401  # the constructor's
        """The model in `folder`; the name that users of transformers look for.

        Args:
            folder: What `similar-fast-export` wrote, or `similar-mini`; nothing is ever
                fetched.
            options: As the constructor takes them.
        """
        return cls(folder, **options)

    @property
    def providers(self) -> tuple[str, ...]:
        """The execution providers in use, first choice first."""
        return self._backbone.providers

    @property
    def deterministic(self) -> bool:
        """Whether a score's bits depend on its own step alone."""
        return self._runner.deterministic

    @property
    def stats(self) -> RewardStats:
        """What the model did so far and what it keeps."""
        steps, asked, cut = self._reader.counts
        return RewardStats(
            states=self._cache.stats,
            pictures=self._pictures.kept.stats,
            scored_steps=steps,
            tokens_run=self._runner.tokens_run,
            tokens_asked=asked,
            num_cut=cut,
        )

    def clear_caches(self) -> None:
        """Forgets every state and every screenshot."""
        self._cache.clear()
        self._pictures.kept.clear()

    def score(self, steps: Sequence[Step]) -> Scores:
        """The scores of `steps`, in their order: `total` `[n]`, `dims` and `weights` `[n, 5]`.

        Dimensions are in the scale of the labels that the heads were trained on, see
        `manifest.reward.heads.label_scales`.

        Raises:
            DataError: A step's screenshot or text cannot be read or is too large.
            InferenceError: A session failed, or a score is not finite.
        """
        rows = self.score_rows(steps)
        if rows.errors:
            raise rows.errors[min(rows.errors)]
        return rows.scores

    def rank(self, state: Step, actions: Sequence[str]) -> tuple[Ranked[str], ...]:
        """The candidate actions of one state, best first; equal totals keep their order.

        Args:
            state: Instruction, history, observation and screenshot; its own action is not read.
            actions: The candidates, in words.

        Raises:
            DataError: As `score`.
            InferenceError: As `score`.
        """
        return ranked(actions, self.score([replace(state, action=action) for action in actions]))

    def score_rows(self, steps: Sequence[Step]) -> ScoredRows:
        """As `score`; a step that cannot be scored has NaN and its error, and nothing is raised.

        One bad step never fails its neighbours.
        """
        failed: dict[int, SimilarFastError] = {}
        features = self._reader.read(steps, failed)
        good = [i for i in range(len(steps)) if i not in failed]
        try:
            scores = self._judge_good(features, good, is_whole=not failed)
        except SimilarFastError as err:
            failed |= dict.fromkeys(good, err)
            scores = self._judge_apart(features, [])
        for i in np.flatnonzero(~np.isfinite(scores.total)).tolist():
            if i not in failed:
                failed[i] = InferenceError(
                    f"the score is {scores.total[i]}; expected a finite number"
                )
        scores = add_lexical_prior(scores, steps, self._backbone.spec.heads.lexical_prior)
        for failure in failed.values():
            failure.__traceback__ = None  # whoever keeps the errors shall not keep what was run
        return ScoredRows(scores, failed, features.num_cut)

    def features(self, steps: Sequence[Step]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What the heads read: h and p of each step, `[n, H]` float32 each.

        Raises:
            DataError: As `score`.
            InferenceError: As `score`.
        """
        failed: dict[int, SimilarFastError] = {}
        features = self._reader.read(steps, failed)
        if failed:
            raise failed[min(failed)]
        return features.hidden, features.prompt_hidden[features.group]

    def judge(self, hidden: NDArray[np.float32], prompt_hidden: NDArray[np.float32]) -> Scores:
        """What the heads alone make of features, without a lexical prior.

        Args:
            hidden: `[n, H]` float32, h of each step.
            prompt_hidden: `[n, H]` float32, p of each step.

        Raises:
            InferenceError: The arrays do not fit.
        """
        judged = self._backbone.judge(hidden, prompt_hidden, np.arange(len(hidden)))
        return Scores(judged.total, judged.dims, judged.weights)

    def _judge_good(self, features: Features, good: list[int], *, is_whole: bool) -> Scores:
        """The scores of the steps `good`; equal actions of one state have those of the first."""
        if self.deterministic or not is_whole or not good:
            scores = self._judge_apart(features, good)
        else:
            judged = self._backbone.judge(features.hidden, features.prompt_hidden, features.group)
            scores = Scores(judged.total, judged.dims, judged.weights)
        first = features.first
        if (first == np.arange(len(first))).all():
            return scores
        assert scores.dims is not None  # noqa: S101  # a reward model's scores have all columns
        assert scores.weights is not None  # noqa: S101  # as above
        return Scores(scores.total[first], scores.dims[first], scores.weights[first])

    def _judge_apart(self, features: Features, good: list[int]) -> Scores:
        """The scores of the steps `good`, whatever the features of the others hold; NaN there."""
        n, width = len(features.hidden), len(DIMENSIONS)
        total, dims, weights = (
            np.full(shape, np.nan, np.float32) for shape in (n, (n, width), (n, width))
        )
        for rows in [[i] for i in good] if self.deterministic else [good] if good else []:
            groups, group = np.unique(features.group[rows], return_inverse=True)
            judged = self._backbone.judge(
                features.hidden[rows], features.prompt_hidden[groups], group
            )
            total[rows], dims[rows], weights[rows] = judged.total, judged.dims, judged.weights
        return Scores(total, dims, weights)


def _cross_bytes(spec: RewardSpec) -> int:
    """Bytes of a screenshot's keys and values; 0 for a family that has none."""
    if spec.tiles is None:
        return 0
    decoder = spec.decoder
    states = spec.tiles.max_tiles * spec.tiles.tokens_per_tile
    width = np.dtype(decoder.kv_dtype).itemsize * decoder.num_kv_heads * decoder.head_dim
    return 2 * len(decoder.cross_layers) * states * width
