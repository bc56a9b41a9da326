"""`PromptWriter`: steps -> token ids, with each state's part made once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from similar_fast.errors import DataError, ModelError
from similar_fast.kept import Kept
from similar_fast.models.manifest import PromptSpec
from similar_fast.models.tokens import open_tokenizer, whole_text
from similar_fast.prompts.cutting import MAX_CHARS_PER_TOKEN, StateTexts, fit_state
from similar_fast.prompts.overlap import mark_action, mark_observation
from similar_fast.prompts.template import Template, Written
from similar_fast.types import Step

__all__ = ["Prompt", "PromptWriter"]

_ROOM_FOR_ACTIONS = 1024  # tokens; at most a quarter of the positions
_OBJECT_BYTES = 256  # of a kept entry beside its texts and its ids

_Ids = NDArray[np.int64]
_StateKey = tuple[str, str, tuple[str, ...], int]


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """The token ids of one step. Arrays are shared between prompts and cannot be written.

    Attributes:
        prefix: `[P]` int64, the state's part. Prompts of one call with equal prefixes hold the same
            array; which picture the image tokens stand for is not in it.
        suffix: `[S]` int64, the action's part; its last token is what the heads read.
        gate_index: Index into `prefix` of the token that the gate reads.
        image_start: Index into `prefix` of the first image token; -1 where there is no picture.
        num_cut: Tokens of the state that did not fit, see `PromptWriter`.
    """

    prefix: _Ids
    suffix: _Ids
    gate_index: int
    image_start: int
    num_cut: int

    def __len__(self) -> int:
        """Tokens of prefix and suffix together."""
        return len(self.prefix) + len(self.suffix)


@dataclass(frozen=True, slots=True, eq=False)
class _Prefix:
    ids: _Ids
    gate_index: int
    image_start: int
    num_cut: int


class PromptWriter:
    """Steps -> prompts, as a manifest's `PromptSpec` says.

    Control tokens come from the template alone: a text that holds the name of one is read as
    ordinary text. Halves of surrogate pairs are read as question marks.

    A prompt never has more than `max_positions` tokens. Where a state has more of them than leave
    room for an action of `action_room` tokens, its oldest actions go first (the others keep their
    numbers), then the end of the observation, then the end of the instruction; never the template,
    the picture or the action. So a prefix is the same for all actions of a state, but for one that
    is longer than that room AND does not fit beside the prefix: only then more is cut.

    Safe to use from many threads.

    Attributes:
        spec: The pieces.
        max_positions: Most tokens of a prompt.
        action_room: Tokens that are always left for the suffix: 1,024, or a quarter of
            `max_positions` where that is less.
    """

    def __init__(
        self,
        spec: PromptSpec,
        tokenizer_path: str | Path,
        *,
        max_positions: int,
        image_token: int | None = None,
        cache_bytes: int = 16 << 20,
    ) -> None:
        """Opens the tokenizer.

        Args:
            spec: The pieces of the prompt.
            tokenizer_path: The model's `tokenizer.json`.
            max_positions: Most tokens of a prompt, at least 1.
            image_token: What stands for a picture; needed where `spec` has a place for one.
            cache_bytes: Most bytes of prefixes, and again of suffixes, to keep; at least 0.

        Raises:
            ModelError: The tokenizer cannot be opened, or `spec` does not fit it.
            ValueError: `max_positions` or `cache_bytes` is out of its range.
        """
        if max_positions < 1 or cache_bytes < 0:
            raise ValueError(
                f"max_positions and cache_bytes are {max_positions} and {cache_bytes}; expected "
                "at least 1 and 0"
            )
        self.spec = spec
        self.max_positions = max_positions
        self.action_room = min(_ROOM_FOR_ACTIONS, max_positions // 4)
        self._tokenizer = open_tokenizer(tokenizer_path, reads_controls=False)
        _check_spec(spec, image_token, self._control_tokens(), tokenizer_path)
        self._prefix_template = Template(spec.prefix, encode=self._encode, image_token=image_token)
        self._suffix_template = Template(spec.suffix, encode=self._encode)
        self._prefixes: Kept[tuple[_StateKey, int], _Prefix] = Kept(cache_bytes)
        self._suffixes: Kept[tuple[str, str], _Ids] = Kept(cache_bytes)

    def write(self, step: Step, num_image_tokens: int = 0) -> Prompt:
        """The prompt of `step`; arguments and errors as for `write_all`."""
        return self.write_all([step], [num_image_tokens])[0]

    def write_all(self, steps: Sequence[Step], num_image_tokens: Sequence[int]) -> list[Prompt]:
        """The prompts of `steps`, in order; each as if it were written alone.

        Args:
            steps: The steps. Whether one has a picture is told by `num_image_tokens` alone.
            num_image_tokens: How often the image token stands for each step's picture (mllama: 1);
                0 for none.

        Raises:
            DataError: A step's template, picture and action alone have too many tokens.
            ValueError: The numbers are not as many as the steps, or below 0, or above 0 for a model
                without pictures.
        """
        if len(steps) != len(num_image_tokens):
            raise ValueError(
                f"{len(num_image_tokens)} numbers of image tokens for {len(steps)} steps; expected "
                "one a step"
            )
        prefixes: dict[tuple[_StateKey, int], _Prefix] = {}
        prompts = []
        for step, count in zip(steps, num_image_tokens, strict=True):
            suffix = self._suffix(step)
            state = (step.instruction, step.observation, step.history, count)
            prefix = self._prefix(state, self.action_room, prefixes)
            if len(prefix.ids) + len(suffix) > self.max_positions:
                prefix = self._prefix(state, len(suffix), prefixes)
            prompts.append(
                Prompt(prefix.ids, suffix, prefix.gate_index, prefix.image_start, prefix.num_cut)
            )
        return prompts

    def _prefix(
        self, state: _StateKey, room: int, written: dict[tuple[_StateKey, int], _Prefix]
    ) -> _Prefix:
        """The prefix of `state` that leaves `room` tokens; kept in `written` too."""
        key = (state, room)
        prefix = written.get(key) or self._prefixes.get(key)
        if prefix is None:
            prefix = self._make_prefix(state, room)
            size = prefix.ids.nbytes + _num_bytes(state[0], state[1], *state[2])
            self._prefixes.put(key, prefix, size)
        written[key] = prefix
        return prefix

    def _make_prefix(self, state: _StateKey, room: int) -> _Prefix:
        instruction, observation, history, num_image_tokens = state
        if num_image_tokens < 0 or (
            num_image_tokens and "image" not in self._prefix_template.fields
        ):
            expected = (
                "at least 0" if num_image_tokens < 0 else "0, since the model has no pictures"
            )
            raise ValueError(f"num_image_tokens is {num_image_tokens}; expected {expected}")

        def write(texts: StateTexts) -> Written:
            return self._prefix_template.write(texts.fields(), num_image_tokens=num_image_tokens)

        limit = self.max_positions - room
        if self.spec.marks_overlap:
            # What comes after so many characters is cut in any case.
            end = MAX_CHARS_PER_TOKEN * self.max_positions
            marked = mark_observation(instruction[:end], observation[:end])
            observation = marked + observation[end:]
        texts = StateTexts(
            whole_text(instruction), whole_text(observation), tuple(map(whole_text, history))
        )
        least = len(write(texts.emptied()).ids)
        if least > limit:
            raise DataError(
                f"the prompt's template and picture have {least} tokens and its action {room}; "
                f"expected at most {self.max_positions} together"
            )
        if self.spec.max_history is not None:
            texts = texts.without_oldest(max(0, len(history) - self.spec.max_history))
        written, num_cut = fit_state(texts, write=write, tokenizer=self._tokenizer, limit=limit)
        offset = self.spec.gate_offset
        gate_index = offset + len(written.ids) if offset < 0 else offset
        return _Prefix(_frozen(written.ids), gate_index, written.image_start, num_cut)

    def _suffix(self, step: Step) -> _Ids:
        key = (step.instruction if self.spec.marks_overlap else "", step.action)
        suffix = self._suffixes.get(key)
        if suffix is None:
            most = MAX_CHARS_PER_TOKEN * self.max_positions
            if len(step.action) > most:
                raise DataError(
                    f"an action has {len(step.action)} characters; expected at most {most}"
                )
            action = whole_text(step.action).strip()
            if self.spec.marks_overlap:
                action = mark_action(whole_text(step.instruction[:most]), action)
            ids = self._suffix_template.write({"action": action}).ids
            if len(ids) > self.max_positions:
                raise DataError(
                    f"an action has {len(ids)} tokens; expected fewer than {self.max_positions}"
                )
            suffix = _frozen(ids)
            self._suffixes.put(key, suffix, suffix.nbytes + _num_bytes(*key))
        return suffix

    def _encode(self, text: str) -> list[int]:
        try:
            ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        except Exception as err:  # the library raises nothing more precise
            raise ModelError(f"the tokenizer cannot read a text: {err}") from err
        return ids

    def _control_tokens(self) -> set[int]:
        added = self._tokenizer.get_added_tokens_decoder()
        return {number for number, token in added.items() if token.special}


def _check_spec(
    spec: PromptSpec, image_token: int | None, controls: set[int], path: str | Path
) -> None:
    """What the prompts rely on and the manifest's types do not say."""
    prefix = {piece.field for piece in spec.prefix} - {None}
    suffix = [piece.field for piece in spec.suffix if piece.field is not None]
    if not prefix <= {"instruction", "observation", "history", "image"} or suffix != ["action"]:
        raise ModelError(
            f"the prompt has the fields {sorted(map(str, prefix))} in its prefix and {suffix} in "
            "its suffix; expected those of the state there and the action here"
        )
    if not spec.prefix or spec.prefix[-1].token is None:
        raise ModelError("the prompt's prefix does not end with a control token; expected one")
    tokens = {piece.token for piece in (*spec.prefix, *spec.suffix)} - {None}
    if "image" in prefix:
        tokens.add(image_token)
    if not tokens <= controls:
        raise ModelError(
            f"the prompt has the tokens {sorted(tokens - controls, key=str)}, which are no control "
            f"tokens of {path}"
        )
    fewest = sum(piece.token is not None and not piece.needs_image for piece in spec.prefix)
    if not -fewest <= spec.gate_offset < fewest:
        raise ModelError(
            f"the prompt's gate_offset is {spec.gate_offset}; expected -{fewest} to {fewest - 1}"
        )


def _frozen(ids: list[int]) -> _Ids:
    array = np.array(ids, np.int64)
    array.flags.writeable = False
    return array


def _num_bytes(*texts: str) -> int:
    """Bytes of a kept entry's texts, at most."""
    return _OBJECT_BYTES + sum(4 * len(text) + 64 for text in texts)
