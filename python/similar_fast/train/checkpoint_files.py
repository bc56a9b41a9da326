"""Which files of a checkpoint belong to it: all else in a user's folder is the user's own."""

import shutil
from pathlib import Path

from similar_fast_export.checkpoint import Checkpoint, copy_companions

__all__ = ["copy_checkpoint"]


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
