"""What a state's prompt loses where it is longer than a model's positions, and in which order."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from similar_fast.prompts.messages import history_text
from similar_fast.prompts.template import Written

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["MAX_CHARS_PER_TOKEN", "StateTexts", "fit_state"]

MAX_CHARS_PER_TOKEN = 32
"""A text is read up to this many characters for each token that there is room for."""

_USUAL_CHARS_PER_TOKEN = 8  # a state of no more is read whole, to see whether it fits
_GUESSED_CHARS_PER_TOKEN = 4  # where the rest was not read
_SLACK = 16  # tokens: texts read one by one may be longer by so many than read together


@dataclass(frozen=True, slots=True)
class StateTexts:
    """What all candidates of a state share.

    Attributes:
        instruction: The task in words.
        observation: The screen in words.
        history: The actions so far, oldest first.
        num_left_out: Actions that were done before those in `history`.
    """

    instruction: str
    observation: str
    history: tuple[str, ...]
    num_left_out: int = 0

    @property
    def num_chars(self) -> int:
        """Characters in all texts."""
        return len(self.instruction) + len(self.observation) + sum(map(len, self.history))

    def fields(self) -> dict[str, str]:
        """The text of each field of a prompt's prefix."""
        return {
            "instruction": self.instruction,
            "observation": self.observation,
            "history": history_text(self.history, first=self.num_left_out + 1),
        }

    def entry(self, index: int) -> str:
        """The action `history[index]` as it stands in a prompt, with the blank line after it."""
        first = self.num_left_out + index + 1
        return history_text(self.history[index : index + 1], first=first) + "\n\n"

    def emptied(self) -> "StateTexts":
        """The same without any text that can be cut."""
        bare = self.without_oldest(len(self.history))
        return replace(bare, instruction="", observation="")

    def without_oldest(self, count: int) -> "StateTexts":
        """The same without the `count` oldest actions; the numbers of the others stay."""
        return replace(self, history=self.history[count:], num_left_out=self.num_left_out + count)


def fit_state(
    state: StateTexts,
    *,
    write: Callable[[StateTexts], Written],
    tokenizer: "Tokenizer",
    limit: int,
) -> tuple[Written, int]:
    """As much of `state` as fits, and about how many tokens were cut.

    The oldest actions go first, then the end of the observation, then the end of the instruction.
    A text is read up to `MAX_CHARS_PER_TOKEN` characters a token of room, so that work and memory
    are O(limit) whatever the texts' length. What is cut is text, not tokens: the result is the
    prompt of a shorter state, token for token.

    Args:
        state: The texts.
        write: The token ids of a state's prompt.
        tokenizer: What `write` reads texts with.
        limit: Most tokens, at least as many as the prompt of an empty state has.

    Returns:
        The prompt that fits, and the number of tokens that were cut: counted where the whole was
        read, one for 4 characters where it was too long for that.
    """
    num_tokens = None
    if state.num_chars <= _USUAL_CHARS_PER_TOKEN * limit:
        written = write(state)
        num_tokens = len(written.ids)
        if num_tokens <= limit:
            return written, 0
    kept = _shortened(state, tokenizer, limit - len(write(state.emptied()).ids) + _SLACK)
    written = write(kept)
    while len(written.ids) > limit:
        kept = _less(kept, tokenizer, len(written.ids) - limit)
        written = write(kept)
    if kept == state:
        return written, 0
    if num_tokens is None:
        cut_chars = state.num_chars - kept.num_chars
        return written, -(-cut_chars // _GUESSED_CHARS_PER_TOKEN)
    return written, max(1, num_tokens - len(written.ids))


def _shortened(state: StateTexts, tokenizer: "Tokenizer", most: int) -> StateTexts:
    """What has about `most` tokens, each text read alone."""
    bare = state.without_oldest(len(state.history))
    end, used = _beginning(tokenizer, state.instruction, most)
    if end < len(state.instruction):
        return replace(bare, instruction=state.instruction[:end], observation="")
    end, count = _beginning(tokenizer, state.observation, most - used)
    used += count
    if end < len(state.observation):
        return replace(bare, observation=state.observation[:end])
    num_kept = 0
    for index in reversed(range(len(state.history))):
        text = state.entry(index)
        end, count = _beginning(tokenizer, text, most - used)
        used += count
        if end < len(text):
            break
        num_kept += 1
    return state.without_oldest(len(state.history) - num_kept)


def _less(state: StateTexts, tokenizer: "Tokenizer", num_tokens: int) -> StateTexts:
    """The next text that goes without about `num_tokens` of its tokens; never the same state."""
    if state.history:
        count = gone = 0
        while count < len(state.history) and gone < num_tokens:
            gone += len(tokenizer.encode(state.entry(count), add_special_tokens=False))
            count += 1
        return state.without_oldest(count)
    if state.observation:
        return replace(state, observation=_without_end(tokenizer, state.observation, num_tokens))
    return replace(state, instruction=_without_end(tokenizer, state.instruction, num_tokens))


def _beginning(tokenizer: "Tokenizer", text: str, most: int) -> tuple[int, int]:
    """Where the longest beginning of at most `most` tokens ends, and how many tokens it has."""
    most = max(0, most)
    for chars in (_USUAL_CHARS_PER_TOKEN * most, MAX_CHARS_PER_TOKEN * most):
        read = tokenizer.encode(text[:chars], add_special_tokens=False)
        if len(read) > most:
            return read.offsets[most][0], most
        if chars >= len(text):
            return len(text), len(read)
    return chars, len(read)


def _without_end(tokenizer: "Tokenizer", text: str, num_tokens: int) -> str:
    read = tokenizer.encode(text, add_special_tokens=False)
    most = len(read) - num_tokens
    return text[: read.offsets[most][0]] if most > 0 else ""
