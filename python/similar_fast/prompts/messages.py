"""A step as chat messages: the one place where the words of a prompt are chosen."""

from collections.abc import Sequence
from typing import Literal, TypedDict

from similar_fast.dimensions import DIMENSIONS
from similar_fast.prompts.settings import Layout
from similar_fast.types import Step

__all__ = [
    "SYSTEM_TEXT",
    "ChatMessage",
    "ImagePart",
    "Layout",
    "TextPart",
    "chat_messages",
    "history_text",
]

SYSTEM_TEXT = (
    "You judge the next action of an agent that operates a graphical user interface. Judge it by "
    f"{', '.join(DIMENSIONS[:-1])} and {DIMENSIONS[-1]}."
)
"""The system message. Heads are trained on it: another sentence is another model."""


class TextPart(TypedDict):
    """A text within a message."""

    type: Literal["text"]
    text: str


class ImagePart(TypedDict):
    """The place of a picture within a message."""

    type: Literal["image"]


class ChatMessage(TypedDict):
    """One message, in the form that chat templates take."""

    role: Literal["system", "user", "assistant"]
    content: str | list[TextPart | ImagePart]


def chat_messages(
    step: Step, layout: Layout, *, max_history: int | None = None
) -> list[ChatMessage]:
    r"""The messages of `step`: system, user (instruction, screen, history), assistant (action).

    The contents are strings, but for a step with a screenshot: there the user's content is a text,
    the picture and a text. Actions, the candidate and those done, lose their outer blanks; nothing
    else is altered.

    Args:
        step: The step.
        layout: Whether the screen or the history comes first.
        max_history: How many of the last actions stand there; None for all.

    Example:
        >>> from similar_fast.types import Step
        >>> messages = chat_messages(Step("Log in", ("click A",), "click B"), "screen-first")
        >>> messages[1]["content"]
        '[INSTRUCTION]\nLog in\n[OBSERVATION]\n\n[REASON_STEPS]\nStep 1 : click A'
        >>> messages[2]["content"]
        'click B'
    """
    left_out = 0 if max_history is None else max(0, len(step.history) - max_history)
    done = history_text(step.history[left_out:], first=left_out + 1)
    history = f"[REASON_STEPS]\n{done}"
    start = f"[INSTRUCTION]\n{step.instruction}\n"
    if layout == "screen-first":
        before, after = f"{start}[OBSERVATION]\n", f"{step.observation}\n{history}"
    else:
        before, after = f"{start}{history}\n[OBSERVATION]\n", step.observation
    content: str | list[TextPart | ImagePart] = before + after
    if step.screenshot is not None:
        content = [
            TextPart(type="text", text=before),
            ImagePart(type="image"),
            TextPart(type="text", text=after),
        ]
    return [
        ChatMessage(role="system", content=SYSTEM_TEXT),
        ChatMessage(role="user", content=content),
        ChatMessage(role="assistant", content=step.action.strip()),
    ]


def history_text(history: Sequence[str], *, first: int = 1) -> str:
    """The actions done, numbered, a blank line between them; `None` where nothing was done.

    Args:
        history: The actions, oldest first.
        first: The number of the first of them, at least 1; where it is more, older ones were left
            out, and no action at all is an empty text.
    """
    if not history:
        return "None" if first == 1 else ""
    return "\n\n".join(
        f"Step {number} : {action.strip()}".strip() for number, action in enumerate(history, first)
    )
