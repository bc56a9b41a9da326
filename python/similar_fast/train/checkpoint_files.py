"""Which files of a checkpoint belong to it: all else in a user's folder is the user's own."""

import shutil
from pathlib import Path

from similar_fast_export.checkpoint import Checkpoint

__all__ = ["copy_checkpoint", "copy_companions"]

_COPIED = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
    "preprocessor_config.json",
    "processor_config.json",
    "LICENSE",
)
"""What a checkpoint has beside its weights and its configuration."""


def copy_checkpoint(source: Path, folder: Path) -> None:
    """Copies the weights, the configuration and what goes with them into a new `folder`.

    The copies are the reader's own, whatever the permissions of the originals.

    Args:
        source: A Hugging Face folder; what else lies in it, heads included, stays there.
        folder: What is made.

    Raises:
        FileExistsError: `folder` exists.
        ModelError: `source` is no checkpoint.
        OSError: A file cannot be read or written.
    """
    files = [*Checkpoint(source).files, source / "config.json"]
    folder.mkdir(parents=True)
    for path in files:
        shutil.copyfile(path, folder / path.name)
    copy_companions(source, folder)


def copy_companions(source: Path, folder: Path) -> None:
    """Copies what `source` has beside its weights and its configuration, and a model needs.

    Raises:
        OSError: A file cannot be read or written.
    """
    for name in _COPIED:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
