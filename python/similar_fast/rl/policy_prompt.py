"""What a policy is asked: the state in the words a scorer reads, and no word about judging."""

from collections.abc import Sequence

from similar_fast.prompts.messages import ChatMessage, Layout, chat_messages
from similar_fast.types import Step

__all__ = ["POLICY_TEXT", "plain_text", "policy_messages"]

POLICY_TEXT = (
    "You operate a graphical user interface. Answer with the one next action, in words, and with "
    "nothing else."
)
"""The system message. `similar_fast.prompts` has another: a policy acts, it does not judge."""

_CHOICE = "Answer with one of the candidates, word for word."


def policy_messages(
    step: Step, *, layout: Layout = "screen-first", candidates: Sequence[str] = ()
) -> list[ChatMessage]:
    r"""The messages that end before the policy's turn: system, user.

    The user's message is that of `chat_messages`: instruction, screen and history. Its content is
    always a string; TRL itself puts a row's pictures before it.

    Args:
        step: The state; its action and its screenshot are not read.
        layout: Whether the screen or the history comes first.
        candidates: The actions to choose from, in words; they are numbered from 1 in this order.
            None are named where it is empty.

    Example:
        >>> messages = policy_messages(Step("Log in", (), ""), candidates=["click A", "click B"])
        >>> [message["role"] for message in messages]
        ['system', 'user']
        >>> messages[1]["content"].split("\n")[-4:-1]
        ['[CANDIDATES]', '1. click A', '2. click B']
    """
    state = Step(step.instruction, step.history, "", step.observation)
    content = chat_messages(state, layout)[1]["content"]
    if candidates:
        listed = "\n".join(f"{n}. {action.strip()}" for n, action in enumerate(candidates, 1))
        content = f"{content}\n[CANDIDATES]\n{listed}\n{_CHOICE}"
    return [
        ChatMessage(role="system", content=POLICY_TEXT),
        ChatMessage(role="user", content=content),
    ]


def plain_text(messages: Sequence[ChatMessage]) -> str:
    r"""The same prompt as one text for models without a chat template, up to `[ACTION]\n`."""
    return "\n\n".join(str(message["content"]) for message in messages) + "\n[ACTION]\n"
