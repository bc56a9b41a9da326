"""What of a prompt is a choice: made in training, and carried by the checkpoint to its exports."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

import msgspec

from similar_fast.errors import ModelError

__all__ = ["LAYOUTS", "PROMPT_NAME", "Layout", "PromptSettings", "read_prompt", "write_prompt"]

PROMPT_NAME = "prompt.json"
"""The file of a trained checkpoint that holds how it was asked."""

Layout = Literal["screen-first", "history-first"]
"""What stands first in the user's turn."""

LAYOUTS: tuple[Layout, ...] = get_args(Layout)
"""The layouts, as an option offers them."""


@dataclass(frozen=True, slots=True)
class PromptSettings:
    """How a step is put to the backbone.

    Attributes:
        layout: What stands first in the user's turn.
        marks_overlap: Whether quoted names say what they have in common with the instruction, see
            `similar_fast.prompts.overlap`.
        max_history: How many of the last actions stand in a prompt, at least 1; None for all that
            fit.
    """

    layout: Layout = "screen-first"
    marks_overlap: bool = False
    max_history: Annotated[int, msgspec.Meta(ge=1)] | None = None


def read_prompt(checkpoint: Path) -> PromptSettings | None:
    """How `checkpoint` was asked in training; None where it does not say.

    Raises:
        ModelError: The file cannot be understood.
    """
    path = checkpoint / PROMPT_NAME
    if not path.is_file():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=PromptSettings)
    except msgspec.DecodeError as err:
        raise ModelError(f"{path} does not say how a checkpoint is asked: {err}") from err


def write_prompt(checkpoint: Path, settings: PromptSettings) -> None:
    """Writes down how `checkpoint` was asked in training.

    Raises:
        OSError: The file cannot be written.
    """
    (checkpoint / PROMPT_NAME).write_bytes(msgspec.json.encode(settings) + b"\n")
