"""What `EmbeddingScorer` compares: texts in parts, cut to the tokens that a model takes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from similar_fast.types import Step

__all__ = ["FittedText", "fit_tokens", "passage_parts", "query_parts"]


@dataclass(frozen=True, slots=True)
class FittedText:
    """Tokens that fit a model.

    Attributes:
        ids: Token ids, no special tokens.
        num_cut: Tokens that did not fit.
    """

    ids: tuple[int, ...]
    num_cut: int


def query_parts(step: Step, *, num_actions: int) -> tuple[str, ...]:
    """What an action is compared with: the instruction, then the last actions, oldest first.

    Args:
        step: The step.
        num_actions: How many of the last actions to take; 0 for none.
    """
    return (step.instruction, *step.history[max(0, len(step.history) - num_actions) :])


def passage_parts(step: Step) -> tuple[str, ...]:
    """What is compared with the query: the action alone. The screen takes no part."""
    return (step.action,)


def fit_tokens(
    parts: Sequence[str], *, encode: Callable[[str], Sequence[int]], limit: int
) -> FittedText:
    """The tokens of `parts` in a row, at most `limit` of them.

    Where they are too many, whole parts go first, from the second on (so of a query the oldest
    action goes first), and then the first part loses its end. The first part is never touched
    while another is left; an action, being its own first part, gives way to nothing.

    Args:
        parts: Texts, at least one.
        encode: A text's token ids, no special tokens.
        limit: Most tokens to keep, at least 0.
    """
    first, *rest = [tuple(encode(part)) for part in parts]
    total = len(first) + sum(map(len, rest))
    kept = total
    while rest and kept > limit:
        kept -= len(rest.pop(0))
    ids = sum(rest, first)[:limit]
    return FittedText(ids, total - len(ids))
