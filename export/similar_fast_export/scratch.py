"""A folder beside the one to make: what is made there appears whole, by one renaming, or not."""

import contextlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["scratch_beside"]


@contextmanager
def scratch_beside(out: Path) -> Iterator[Path]:
    """A new folder on the disk of `out`, gone at the end with everything that is still in it.

    Parents of `out` are made where they are missing; after an error those are gone as well.

    Raises:
        FileExistsError: `out` exists.
        OSError: Nothing can be written there.
    """
    if out.exists():
        raise FileExistsError(f"{out} exists; expected a new folder")
    made = [parent for parent in out.parents if not parent.exists()]
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as scratch:
            yield Path(scratch)
    except BaseException:  # an interrupted export leaves nothing either
        with contextlib.suppress(OSError):  # somebody else may have put something there
            for parent in made:
                parent.rmdir()
        raise
