"""States and their candidates: what one screen's candidates share is run once, the rest together.

A run of the decoder over P prefix tokens and N suffixes of s tokens each costs about N (P + s) when
every candidate is run whole; here it costs P + N s, and N s where the state is known (see
`docs/models.md`).
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from similar_fast.backbone import Backbone, Row, joined_past, shared_past
from similar_fast.errors import InferenceError
from similar_fast.prefix import pack
from similar_fast.runtime import Tensor
from similar_fast.state_cache import Picture, PromptTokens, State, StateCache

__all__ = ["StateRunner"]

_MIN_SHARED = 16
"""A shorter common beginning is run again: taking it over costs more."""


class StateRunner:
    """Runs states and candidates through one decoder; safe in threads.

    Attributes:
        deterministic: Whether a score's bits may depend on nothing but its own step: no beginning
            is taken over from another state, and each candidate runs alone.
        max_batch_tokens: Most tokens of candidates in one run; a longer candidate runs alone.
        tokens_run: Tokens that went through the decoder so far.
    """

    def __init__(
        self,
        backbone: Backbone,
        cache: StateCache,
        *,
        max_batch_tokens: int,
        deterministic: bool,
    ) -> None:
        self._backbone = backbone
        self._cache = cache
        self._spec = backbone.spec.decoder
        self.max_batch_tokens = max_batch_tokens
        self.deterministic = deterministic
        self.tokens_run = 0

    def state(
        self,
        tokens: PromptTokens,
        *,
        gate_index: int,
        image_start: int,
        picture: Picture | None,
    ) -> State:
        """The state of `tokens`: from the cache, or continued from its longest known beginning.

        Args:
            tokens: The prefix.
            gate_index: Which of its tokens the gate reads.
            image_start: Where its image tokens begin; -1 without.
            picture: What they show.

        Raises:
            InferenceError: The session failed, or its states are not finite.
        """
        found = self._cache.find(tokens)
        length = len(tokens.ids)
        if found is not None and found[1] == length == len(found[0].tokens.ids):
            return found[0]
        past: Mapping[str, Tensor] = {}
        shared = 0
        if found is not None and self._may_continue:
            shared = min(found[1], gate_index)
            if shared < _MIN_SHARED:
                shared = 0
            else:
                past = shared_past(found[0].past, shared)
        row = Row(
            input_ids=tokens.ids[shared:],
            positions=tokens.positions[:, shared:],
            mask=self._prefix_mask(length, shared),
            score_index=np.array([gate_index - shared], np.int64),
            past=past,
            picture=self._picture_feeds(picture, seen=_image_tokens(tokens, image_start, shared)),
        )
        hidden, new = self._run(row, keep=True)
        state = State(
            tokens=tokens,
            past=joined_past(past, new) if shared else new,
            prompt_hidden=hidden[0],
            picture=picture,
            nbytes=self._kv_bytes(length),
        )
        self._cache.insert(state)
        return state

    def candidates(
        self, state: State, suffixes: Sequence[NDArray[np.int64]]
    ) -> NDArray[np.float32]:
        """`[len(suffixes), H]`: the last token's state of each continuation of `state`.

        Raises:
            InferenceError: The session failed, or its states are not finite.
        """
        hidden = np.empty((len(suffixes), len(state.prompt_hidden)), np.float32)
        if self.deterministic:
            for i, suffix in enumerate(suffixes):
                hidden[i] = self._candidates(state, [suffix])[0]
        else:
            hidden[:] = self._candidates(state, suffixes)
        return hidden

    def _candidates(
        self, state: State, suffixes: Sequence[NDArray[np.int64]]
    ) -> NDArray[np.float32]:
        start, axes = state.tokens.next_position, len(state.tokens.positions)
        positions = [
            np.broadcast_to(np.arange(start, start + len(suffix)), (axes, len(suffix)))
            for suffix in suffixes
        ]
        packs = pack(
            suffixes,
            positions,
            past=len(state.tokens.ids),
            max_tokens=self.max_batch_tokens,
            attention="causal" if self._spec.attention == "causal" else "block",
        )
        hidden = np.empty((len(suffixes), len(state.prompt_hidden)), np.float32)
        for packed in packs:
            row = Row(
                input_ids=packed.input_ids,
                positions=packed.positions,
                mask=packed.mask,
                score_index=packed.score_index,
                past=state.past,
                picture=self._picture_feeds(state.picture, seen=None),
            )
            hidden[packed.sequences] = self._run(row, keep=False)[0]
        return hidden

    @property
    def _may_continue(self) -> bool:
        """Whether a token's keys and values depend on what stands before it alone."""
        return self._spec.attention == "causal" and not self.deterministic

    def _run(self, row: Row, *, keep: bool) -> tuple[NDArray[np.float32], dict[str, Tensor]]:
        hidden, new = self._backbone.extend(row, keep=keep)
        self.tokens_run += len(row.input_ids)
        return hidden, new

    def _prefix_mask(self, length: int, shared: int) -> NDArray[np.bool_]:
        if self._spec.attention == "prefix":
            return np.ones((length, length), np.bool_)
        return np.tri(length - shared, length, shared, dtype=np.bool_)

    def _picture_feeds(self, picture: Picture | None, *, seen: int | None) -> dict[str, Tensor]:
        """What the decoder reads of `picture`, of whose tokens `seen` were run before.

        None stands for a row that has no image tokens at all.
        """
        if not self._backbone.spec.patches:
            return {}
        if picture is None or seen is None or seen == picture.num_tokens:
            return self._backbone.no_picture
        embeds = picture.tensors["image_embeds"]
        return {"image_embeds": to_host(embeds)[seen:] if seen else embeds}

    def _kv_bytes(self, length: int) -> int:
        spec = self._spec
        width = np.dtype(spec.kv_dtype).itemsize * spec.num_kv_heads * spec.head_dim
        return 2 * len(spec.layers) * width * length


def _image_tokens(tokens: PromptTokens, image_start: int, shared: int) -> int:
    """How many image tokens stand among the first `shared`; the keys of text are 0."""
    return 0 if image_start < 0 else int(np.count_nonzero(tokens.keys[:shared]))
