"""What is said to a model: messages, with a picture only where the caller has asked for it."""

import base64
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from similar_fast.errors import DataError

__all__ = ["Message", "cut", "messages_of"]

Message = Mapping[str, Any]
"""One message of a conversation, as the chat-completions interface has it."""

_SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"RIFF": "image/webp",
}


def messages_of(
    system: str, question: Mapping[str, object], *, screenshot: Callable[[], bytes] | None = None
) -> list[Message]:
    """A system message and one of the user, which holds `question` as JSON and nothing else.

    The texts of a screen are anybody's. As JSON strings they cannot pass for a part of the frame.

    Args:
        system: What the model is to do.
        question: What it is to do it with.
        screenshot: Gives the picture to send along; None sends none.

    Raises:
        DataError: The picture is neither PNG, JPEG nor WebP.
    """
    text = msgspec.json.encode(question).decode()
    content: object = text
    if screenshot is not None:
        url = _data_url(screenshot())
        content = [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": url}}]
    return [{"role": "system", "content": system}, {"role": "user", "content": content}]


def cut(text: str, length: int) -> str:
    """The first `length` characters of `text`, with a mark where something is left out."""
    return text if len(text) <= length else text[:length] + " [...]"


def _data_url(picture: bytes) -> str:
    for signature, kind in _SIGNATURES.items():
        if picture.startswith(signature):
            return f"data:{kind};base64,{base64.b64encode(picture).decode()}"
    raise DataError(f"the screenshot begins with {picture[:8]!r}, expected PNG, JPEG or WebP")
