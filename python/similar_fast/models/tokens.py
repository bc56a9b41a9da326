"""Tokenizer files, opened safely; and texts that a tokenizer can read."""

from pathlib import Path
from typing import TYPE_CHECKING

from similar_fast.errors import ModelError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["MAX_TOKENIZER_BYTES", "open_tokenizer", "whole_text"]

MAX_TOKENIZER_BYTES = 256 << 20
"""The largest tokenizer file that is opened; those of today's models have up to 35 MB."""


def open_tokenizer(path: str | Path, *, reads_controls: bool = True) -> "Tokenizer":
    """The tokenizer of the file at `path`, which neither cuts nor pads.

    It belongs to the caller alone, so that nobody else can set it otherwise.

    Args:
        path: A `tokenizer.json`.
        reads_controls: Whether a control token's name in a text becomes that token; if not, it is
            read as the ordinary text that it is.

    Raises:
        ModelError: The file is missing, too large, or no tokenizer.
    """
    from tokenizers import Tokenizer  # noqa: PLC0415  # `import similar_fast` must stay light

    path = Path(path)
    if path.is_file() and (size := path.stat().st_size) > MAX_TOKENIZER_BYTES:
        raise ModelError(f"{path} holds {size} bytes; expected at most {MAX_TOKENIZER_BYTES}")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as err:  # the library raises nothing more precise
        raise ModelError(f"{path} is no tokenizer that can be read: {err}") from err
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = not reads_controls
    return tokenizer


def whole_text(text: str) -> str:
    """`text` with a question mark for each half of a surrogate pair, which a page may hold."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
