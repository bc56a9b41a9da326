"""States and their candidates: what one screen's candidates share is run once, the rest together.

A run of the decoder over P prefix tokens and N suffixes of s tokens each costs about N (P + s) when
every candidate is run whole; here it costs P + N s, and N s where the state is known (see
`docs/models.md`).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from similar_fast.errors import InferenceError
from similar_fast.kept import PatientLock
from similar_fast.models.manifest import kv_bytes_per_token
from similar_fast.models.runtime import Tensor
from similar_fast.reward.backbone import Backbone, Row, shared_past
from similar_fast.reward.prefix import Pack, pack
from similar_fast.reward.state_cache import PromptTokens, State, StateCache

__all__ = ["StateRunner"]

_MIN_SHARED = 16
"""A shorter common beginning is run again: taking it over costs more."""

_MAX_CELLS = 1 << 22
"""Most entries of a prefix's mask in one run; attention takes some 12 bytes of each, a head."""

_MIN_CHUNK = 128
"""Tokens that are run together at least, however many stand before them."""

_MAX_MASK_BYTES = 1 << 26
"""Most bytes of the masks that are made at once."""

_NUM_RUNNING = 64
"""Locks that keep threads from running one state twice; two states rarely share one."""


class StateRunner:
    """Runs states and candidates through one decoder; safe in threads.

    Attributes:
        deterministic: Whether a score's bits may depend on nothing but its own step: no beginning
            is taken over from another state, and each candidate runs alone.
        max_batch_tokens: Most tokens of candidates in one run; a longer candidate runs alone.
        max_prefix_tokens: Most tokens of a causal prefix in one run; a longer one is run in pieces,
            each of which sees what stands before it and so skips what it must not see.
        tokens_run: Tokens that went through the decoder so far.
    """

    def __init__(
        self,
        backbone: Backbone,
        cache: StateCache,
        *,
        max_batch_tokens: int,
        max_prefix_tokens: int,
        deterministic: bool,
    ) -> None:
        self._backbone = backbone
        self._cache = cache
        self._spec = backbone.spec.decoder
        self._kv_bytes = kv_bytes_per_token(self._spec)
        self.max_batch_tokens = max_batch_tokens
        self.max_prefix_tokens = max_prefix_tokens
        self.deterministic = deterministic
        self.tokens_run = 0
        self._lock = Lock()
        self._running = tuple(PatientLock() for _ in range(_NUM_RUNNING))

    def state(
        self,
        tokens: PromptTokens,
        *,
        gate_index: int,
        picture: Callable[[int, int], Mapping[str, Tensor]],
    ) -> State:
        """The state of `tokens`: from the cache, or continued from its longest known beginning.

        Args:
            tokens: The prefix.
            gate_index: Which of its tokens the gate reads.
            picture: Called with (start, stop) where those tokens are run: what else the decoder
                reads to see the picture.

        Raises:
            InferenceError: The session failed, or the state that the gate reads is not finite.
        """
        state, past, shared = self._look_up(tokens, gate_index)
        if state is not None:
            return state
        key = hash((tokens.ids.tobytes(), tokens.keys.tobytes()))
        with self._running[key % len(self._running)] as has_waited:
            if has_waited:  # for another thread, likely with the same state
                state, past, shared = self._look_up(tokens, gate_index)
                if state is not None:
                    return state
            state = self._continued(tokens, past, shared, gate_index=gate_index, picture=picture)
            self._cache.insert(state)
        return state

    def candidates(
        self,
        state: State,
        suffixes: Sequence[NDArray[np.int64]],
        *,
        picture: Callable[[int], Mapping[str, Tensor]],
    ) -> NDArray[np.float32]:
        """`[len(suffixes), H]`: the last token's state of each continuation of `state`.

        Args:
            state: What they continue.
            suffixes: At least one; `[s]` int64 each, at least one token.
            picture: Called with the number of tokens where these are run: what else the decoder
                reads to see the state's picture.

        Raises:
            InferenceError: The session failed.
        """
        # An action that comes twice is run once, so that its scores are the same bits.
        places: dict[bytes, int] = {}
        index = [places.setdefault(suffix.tobytes(), len(places)) for suffix in suffixes]
        hidden = np.empty((len(places), len(state.prompt_hidden)), np.float32)
        distinct = [np.frombuffer(suffix, np.int64) for suffix in places]
        for group in self._groups(state, distinct):
            runs = [[i] for i in group] if self.deterministic else [group]
            for run in runs:
                hidden[run] = self._candidates(state, [distinct[i] for i in run], picture)
        return hidden if len(places) == len(suffixes) else hidden[index]

    def _groups(self, state: State, suffixes: Sequence[NDArray[np.int64]]) -> Iterator[list[int]]:
        """Which of `suffixes` are packed together: alone where one is longer than a row.

        The masks of a group never take more than a bounded number of bytes.
        """
        budget = self._row_tokens(state)
        most = max(budget, _MAX_MASK_BYTES // (len(state.tokens.ids) + budget))
        group: list[int] = []
        size = 0
        for i, suffix in enumerate(suffixes):
            if len(suffix) > budget:
                yield [i]
                continue
            if size + len(suffix) > most:
                yield group
                group, size = [], 0
            group.append(i)
            size += len(suffix)
        if group:
            yield group

    def _row_tokens(self, state: State) -> int:
        """Most tokens of candidates in one run behind `state`."""
        return min(self.max_batch_tokens, max(_MIN_CHUNK, _MAX_CELLS // len(state.tokens.ids)))

    def _candidates(
        self,
        state: State,
        suffixes: Sequence[NDArray[np.int64]],
        picture: Callable[[int], Mapping[str, Tensor]],
    ) -> NDArray[np.float32]:
        budget, is_causal = self._row_tokens(state), self._spec.attention == "causal"
        if is_causal and len(suffixes[0]) > budget:
            return self._run_long(state, suffixes[0], picture)
        positions = self._positions(state, max(map(len, suffixes)))
        packs = pack(
            suffixes,
            [positions[:, : len(suffix)] for suffix in suffixes],
            past=len(state.tokens.ids),
            max_tokens=budget,
            attention="causal" if is_causal else "block",
        )
        hidden = np.empty((len(suffixes), len(state.prompt_hidden)), np.float32)
        for packed in packs:
            hidden[packed.sequences] = self._run_pack(state, packed, picture)
        return hidden

    def _run_long(
        self,
        state: State,
        suffix: NDArray[np.int64],
        picture: Callable[[int], Mapping[str, Tensor]],
    ) -> NDArray[np.float32]:
        """`[1, H]`: the last token's state of a candidate that is longer than a row, in pieces."""
        past, length, chunk = state.past, len(state.tokens.ids), self._row_tokens(state)
        positions = self._positions(state, len(suffix))
        hidden = np.empty((1, 0), np.float32)
        for start in range(0, len(suffix), chunk):
            stop = min(start + chunk, len(suffix))
            row = Row(
                input_ids=suffix[start:stop],
                positions=positions[:, start:stop],
                mask=_mask(length + start, length + stop, is_causal=True),
                score_index=np.array([stop - start - 1], np.int64),
                past=past,
                picture=picture(stop - start),
            )
            hidden, past = self._run(row, keep=stop < len(suffix))
        return hidden

    def _positions(self, state: State, count: int) -> NDArray[np.int64]:
        """`[A, count]` positions of the tokens behind `state`."""
        start = state.tokens.next_position
        axes = len(state.tokens.positions)
        return np.arange(start, start + count)[None].repeat(axes, axis=0)

    def _run_pack(
        self, state: State, packed: Pack, picture: Callable[[int], Mapping[str, Tensor]]
    ) -> NDArray[np.float32]:
        """`[K, H]`: the state of each sequence's last token."""
        row = Row(
            input_ids=packed.input_ids,
            positions=packed.positions,
            mask=packed.mask,
            score_index=packed.score_index,
            past=state.past,
            picture=picture(len(packed.input_ids)),
        )
        return self._run(row, keep=False)[0]

    def _look_up(
        self, tokens: PromptTokens, gate_index: int
    ) -> tuple[State | None, Mapping[str, Tensor], int]:
        """The state where it is known; else what can be continued, and how many tokens that is."""
        found = self._cache.find(tokens)
        if found is not None and found[1] == len(tokens.ids) == len(found[0].tokens.ids):
            return found[0], {}, 0
        return None, *self._known_beginning(found, gate_index)

    def _known_beginning(
        self, found: tuple[State, int] | None, gate_index: int
    ) -> tuple[Mapping[str, Tensor], int]:
        """Keys and values to continue from, and how many tokens they are of."""
        if found is None:
            return {}, 0
        shared = min(found[1], gate_index)
        return (shared_past(found[0].past, shared), shared) if shared >= _MIN_SHARED else ({}, 0)

    def _continued(
        self,
        tokens: PromptTokens,
        past: Mapping[str, Tensor],
        start: int,
        *,
        gate_index: int,
        picture: Callable[[int, int], Mapping[str, Tensor]],
    ) -> State:
        """The state of `tokens`, whose first `start` are `past`; long ones in several runs."""
        length = len(tokens.ids)
        is_causal = self._spec.attention == "causal"
        chunk = min(self.max_prefix_tokens, max(_MIN_CHUNK, _MAX_CELLS // length))
        chunk = chunk if is_causal else length
        prompt_hidden: NDArray[np.float32] | None = None
        while start < length:
            stop = min(start + chunk, length)
            has_gate = start <= gate_index < stop
            row = Row(
                input_ids=tokens.ids[start:stop],
                positions=tokens.positions[:, start:stop],
                mask=_mask(start, stop, is_causal=is_causal),
                score_index=np.array([gate_index - start if has_gate else 0], np.int64),
                past=past,
                picture=picture(start, stop),
            )
            hidden, past = self._run(row, keep=True)
            if has_gate:
                prompt_hidden = hidden[0]
            start = stop
        assert prompt_hidden is not None  # noqa: S101  # the gate's token is never a shared one
        if not np.isfinite(prompt_hidden).all():
            raise InferenceError("the decoder's state of a prompt is not finite")
        return State(tokens, past, prompt_hidden, length * self._kv_bytes)

    def _run(self, row: Row, *, keep: bool) -> tuple[NDArray[np.float32], Mapping[str, Tensor]]:
        hidden, kept = self._backbone.extend(row, keep=keep)
        with self._lock:
            self.tokens_run += len(row.input_ids)
        return hidden, kept


def _mask(start: int, stop: int, *, is_causal: bool) -> NDArray[np.bool_]:
    """`[stop - start, stop]`: what the tokens from `start` on may attend to."""
    if is_causal:
        return np.tri(stop - start, stop, start, dtype=np.bool_)
    return np.ones((stop - start, stop), np.bool_)
