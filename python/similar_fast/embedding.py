"""`EmbeddingScorer`: a small text encoder as a scorer, and the encoder itself."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from similar_fast.errors import InferenceError, ModelError
from similar_fast.models.manifest import read_manifest
from similar_fast.models.runtime import Provider, open_session
from similar_fast.models.shipped import shipped_model
from similar_fast.models.tokens import open_tokenizer, whole_text
from similar_fast.prompts import FittedText, fit_tokens, passage_parts, query_parts
from similar_fast.types import Scores, Step

__all__ = ["EmbeddingScorer", "TextEncoder"]

_SPECIAL_TOKENS = 2  # [CLS] before a text and [SEP] after it
_REPEAT_POWER = 8  # see `EmbeddingScorer`

_Key = tuple[str, ...]
_Vector = NDArray[np.float32]


class EmbeddingScorer:
    """A `Scorer` that compares an action with the instruction by a small text encoder.

    It is a baseline: it sees words, not success. It knows neither the screen nor what an action
    leads to, and it was not trained on agents. For a step with instruction and history q and
    candidate action a,

        total = (cos(q, a) - w * r) / (1 + w),   r = max over actions h done of max(0, cos(h, a))^8

    with w = `history_weight`. The second term keeps a step that is already done from being chosen
    again; the power leaves it whole for a repeat and all but takes it away for mere likeness (0.7
    becomes 0.06), since the actions of one screen are worded alike. The division keeps the total
    in [-1, 1]. By default no action stands in q itself: a text that repeats what was done is most
    like doing it once more.

    Source: this package; the encoder's own measure is the cosine (Reimers and Gurevych 2019,
    section 3, mean pooling), the second term has the form of maximal marginal relevance
    (Carbonell and Goldstein 1998).

    Attributes:
        history_weight: w of the formula.
        query_history: How many of the last actions stand in q.

    Example:
        >>> from similar_fast.types import Step
        >>> scorer = EmbeddingScorer()
        >>> steps = [Step("Buy a ticket", (), action) for action in ("click Buy", "click Help")]
        >>> int(scorer.score(steps).total.argmax())
        0
    """

    def __init__(  # all but one by keyword
        self,
        model: str | Path | None = None,
        *,
        history_weight: float = 0.5,
        query_history: int = 0,
        max_batch_size: int = 32,
        max_batch_tokens: int = 4096,
        providers: str | Sequence[Provider] = "auto",
        threads: int | None = None,
        cache_size: int = 16_384,
    ) -> None:
        """Opens the model.

        Args:
            model: Its folder; None for the one in the installed package `similar_fast_mini`.
            history_weight: w of the formula, at least 0; 0 leaves the plain cosine.
            query_history: How many of the last actions stand in the query, at least 0.
            max_batch_size: Texts in one run of the model, at least 1.
            max_batch_tokens: Tokens in one run, padding counted; a longer text runs alone.
            providers: As `open_session` takes them.
            threads: As `open_session` takes them.
            cache_size: Embeddings to keep, at least 0; 1.5 KiB each.

        Raises:
            ModelError: The folder does not hold such a model, or the package is not installed.
            InferenceError: No session can be made, see `open_session`.
            ValueError: An argument is out of its range.
        """
        if not 0.0 <= history_weight < float("inf"):
            raise ValueError(f"history_weight is {history_weight}; expected at least 0, finite")
        if query_history < 0:
            raise ValueError(f"query_history is {query_history}; expected at least 0")
        self.history_weight = history_weight
        self.query_history = query_history
        self._encoder = TextEncoder(
            shipped_model("embedding") if model is None else model,
            max_batch_size=max_batch_size,
            max_batch_tokens=max_batch_tokens,
            providers=providers,
            threads=threads,
            cache_size=cache_size,
        )

    @property
    def providers(self) -> tuple[str, ...]:
        """The execution providers in use, first choice first."""
        return self._encoder.providers

    @property
    def num_cut(self) -> int:
        """Tokens that did not fit, over every text encoded so far; a cached text counts once."""
        return self._encoder.num_cut

    def score(self, steps: Sequence[Step]) -> Scores:
        """The scores of `steps`: `total` is `[len(steps)]` float32 in [-1, 1], `dims` is None.

        A step's score does not depend on its neighbours (within 1e-5: float sums change their
        order with a batch's shape).

        Raises:
            InferenceError: The session failed, or returned something that is not finite.
        """
        queries = [query_parts(step, num_actions=self.query_history) for step in steps]
        actions = [passage_parts(step) for step in steps]
        done = [self._done(step) for step in steps]
        vectors = self._encoder.encode(
            [*queries, *actions, *(key for keys in done for key in keys)]
        )
        total = np.zeros(len(steps), np.float32)
        for i, (query, action, keys) in enumerate(zip(queries, actions, done, strict=True)):
            likeness = float(vectors[query] @ vectors[action])
            nearest = max((float(vectors[key] @ vectors[action]) for key in keys), default=0.0)
            w = self.history_weight
            total[i] = (likeness - w * max(0.0, nearest) ** _REPEAT_POWER) / (1.0 + w)
        return Scores(np.clip(total, -1.0, 1.0))

    def _done(self, step: Step) -> list[_Key]:
        return [(action,) for action in dict.fromkeys(step.history)] if self.history_weight else []


class TextEncoder:
    """Texts -> unit vectors, by a model of the family `bert-embedding`, with a bounded cache.

    Safe to call from many threads; two that ask for one new text at once may both encode it.

    Attributes:
        manifest: What the model is.
        max_batch_size: Texts in one run.
        max_batch_tokens: Tokens in one run, padding counted.
        cache_size: Embeddings to keep.
    """

    def __init__(  # all but one by keyword
        self,
        folder: str | Path,
        *,
        max_batch_size: int = 32,
        max_batch_tokens: int = 4096,
        providers: str | Sequence[Provider] = "auto",
        threads: int | None = None,
        cache_size: int = 16_384,
    ) -> None:
        """Opens the model in `folder`; arguments and errors as for `EmbeddingScorer`."""
        if max_batch_size < 1 or max_batch_tokens < 1 or cache_size < 0:
            raise ValueError(
                f"max_batch_size, max_batch_tokens and cache_size are {max_batch_size}, "
                f"{max_batch_tokens} and {cache_size}; expected at least 1, 1 and 0"
            )
        folder = Path(folder)
        self.manifest = read_manifest(folder)
        self.max_batch_size = max_batch_size
        self.max_batch_tokens = max_batch_tokens
        self.cache_size = cache_size
        self._tokenizer = open_tokenizer(folder / "tokenizer.json")
        self._special = self._tokenizer.encode("").ids
        if len(self._special) != _SPECIAL_TOKENS or self.manifest.max_positions <= _SPECIAL_TOKENS:
            raise ModelError(
                f"{folder} frames a text by {len(self._special)} tokens of at most "
                f"{self.manifest.max_positions}; expected {_SPECIAL_TOKENS} and room for a text"
            )
        self._session = open_session(folder / "model.onnx", providers=providers, threads=threads)
        self._check_model()
        self._cache: OrderedDict[_Key, _Vector] = OrderedDict()
        self._lock = Lock()
        self._num_cut = 0

    @property
    def providers(self) -> tuple[str, ...]:
        """The execution providers in use, first choice first."""
        return self._session.providers

    @property
    def num_cut(self) -> int:
        """Tokens that did not fit, over every text encoded so far."""
        return self._num_cut

    def encode(self, texts: Sequence[_Key]) -> dict[_Key, _Vector]:
        """The embedding of each distinct text: `[hidden_size]` float32 of length 1.

        Args:
            texts: Each in the parts that `fit_tokens` cuts.

        Raises:
            InferenceError: The session failed, or returned something that is not finite.
        """
        vectors: dict[_Key, _Vector] = {}
        missing: list[_Key] = []
        with self._lock:
            for key in dict.fromkeys(texts):
                if key in self._cache:
                    self._cache.move_to_end(key)
                    vectors[key] = self._cache[key]
                else:
                    missing.append(key)
        if missing:
            new, num_cut = self._encode_missing(missing)
            self._keep(new, num_cut)
            vectors |= new
        return vectors

    def _check_model(self) -> None:
        session, manifest = self._session, self.manifest
        if (*session.inputs, *session.outputs) != ("input_ids", "attention_mask", "embedding"):
            raise ModelError(
                f"{session.path} turns {session.inputs} into {session.outputs}; expected "
                "('input_ids', 'attention_mask') into ('embedding',)"
            )
        if manifest.embedding is None:
            raise ModelError(
                f"the model of {session.path} is of the family {manifest.family!r}; expected "
                "an embedding model"
            )
        if not manifest.embedding.is_normalized:
            raise ModelError(
                f"the model of {session.path} does not normalize its embeddings; expected one that "
                "does, since a cosine is taken as a plain product"
            )

    def _keep(self, new: dict[_Key, _Vector], num_cut: int) -> None:
        with self._lock:
            self._num_cut += num_cut
            self._cache |= new
            while len(self._cache) > self.cache_size:
                self._cache.popitem(last=False)

    def _encode_missing(self, keys: list[_Key]) -> tuple[dict[_Key, _Vector], int]:
        fitted = {key: self._fit(key) for key in keys}
        keys = sorted(
            keys, key=lambda key: len(fitted[key].ids)
        )  # stable: equal lengths keep order
        vectors: dict[_Key, _Vector] = {}
        for batch in self._batches(keys, fitted):
            rows = self._run([fitted[key].ids for key in batch])
            vectors |= {key: row.copy() for key, row in zip(batch, rows, strict=True)}
        return vectors, sum(text.num_cut for text in fitted.values())

    def _fit(self, key: _Key) -> FittedText:
        limit = self.manifest.max_positions - len(self._special)
        return fit_tokens(key, encode=self._token_ids, limit=limit)

    def _token_ids(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(whole_text(text), add_special_tokens=False).ids
        return ids

    def _batches(self, keys: list[_Key], fitted: dict[_Key, FittedText]) -> Iterator[list[_Key]]:
        """Runs of `keys`, which are sorted by length, within both limits."""
        batch: list[_Key] = []
        for key in keys:
            padded = (len(fitted[key].ids) + len(self._special)) * (len(batch) + 1)
            if batch and (len(batch) == self.max_batch_size or padded > self.max_batch_tokens):
                yield batch
                batch = []
            batch.append(key)
        if batch:
            yield batch

    def _run(self, rows: list[tuple[int, ...]]) -> _Vector:
        """One run of the model: `[len(rows), hidden_size]`."""
        start, end = self._special
        input_ids = np.zeros((len(rows), max(map(len, rows)) + len(self._special)), np.int64)
        mask = np.zeros_like(input_ids)
        for i, ids in enumerate(rows):
            input_ids[i, : len(ids) + 2] = (start, *ids, end)
            mask[i, : len(ids) + 2] = 1
        outputs = self._session.run({"input_ids": input_ids, "attention_mask": mask})
        embedding: _Vector = outputs["embedding"]
        if embedding.shape != (len(rows), self.manifest.hidden_size):
            raise InferenceError(
                f"{self._session.path} returned embeddings of shape {list(embedding.shape)}; "
                f"expected {[len(rows), self.manifest.hidden_size]}"
            )
        if not np.isfinite(embedding).all():
            num = int((~np.isfinite(embedding).all(axis=1)).sum())
            raise InferenceError(
                f"{self._session.path} returned {num} of {len(rows)} embeddings that are not "
                "finite; expected none"
            )
        return embedding
