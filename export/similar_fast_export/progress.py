"""How far an export is: which graph is being written, and how much of the weights was read."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ExportProgress", "Meter", "Watch"]


@dataclass(frozen=True, slots=True)
class ExportProgress:
    """The state of one pass over a checkpoint's weights.

    Attributes:
        graph: The file that is being written, such as `decoder.onnx`.
        num_written: Bytes of all graphs so far.
        num_read: Bytes of the checkpoint's tensors that were read so far. A tensor that is needed
            twice counts twice, and one that is not needed, such as the head over the words, never.
        num_bytes: Bytes of all tensors of the checkpoint.
    """

    graph: str
    num_written: int
    num_read: int
    num_bytes: int


Watch = Callable[[ExportProgress], None]
"""Told after each tensor."""


class Meter:
    """Counts what is read from a checkpoint while graphs grow in a folder.

    Args:
        folder: Where the graphs are written.
        num_bytes: Of all tensors.
        watch: Whom to tell.
    """

    def __init__(self, folder: Path, num_bytes: int, watch: Watch) -> None:
        self._folder = folder
        self._num_bytes = num_bytes
        self._watch = watch
        self._num_read = 0

    def advance(self, num_bytes: int) -> None:
        """A tensor of `num_bytes` was read; O(files of the folder)."""
        self._num_read += num_bytes
        files = [*self._folder.glob("*.onnx"), *self._folder.glob("*.onnx.data")]
        # A graph's own file comes last, so weights without one are of the graph that is growing.
        growing = [x for x in files if x.suffix == ".data" and not x.with_suffix("").exists()]
        written = sum(file.stat().st_size for file in files)
        graph = growing[0].stem if growing else ""
        self._watch(ExportProgress(graph, written, self._num_read, self._num_bytes))
