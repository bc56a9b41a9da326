"""Screenshots: bytes from anywhere become what the decoder reads, each content seen once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from similar_fast.errors import DataError, SimilarFastError
from similar_fast.kept import Kept, PatientLock
from similar_fast.models.runtime import Tensor, tensor_bytes
from similar_fast.processing.images import image_key, image_size, open_image
from similar_fast.reward.vision import Grid, Vision
from similar_fast.types import Step

__all__ = ["PictureReader", "Screenshot"]


_NUM_RUNNING = 16
"""Locks that keep threads from running one picture twice."""


@dataclass(frozen=True, slots=True, eq=False)
class Screenshot:
    """A picture whose header was read; its pixels were not.

    Attributes:
        key: Hash of its content.
        data: Its PNG, JPEG or WebP bytes.
        num_tokens: Image tokens that it takes in a prompt.
        grid: (time, rows, columns) in patches; None for mllama.
    """

    key: bytes
    data: bytes
    num_tokens: int
    grid: Grid | None

    @property
    def words(self) -> NDArray[np.uint64]:
        """`[4]`: the content's hash, which tells its tokens from another picture's; none is 0."""
        return np.frombuffer(self.key, np.uint64) | np.uint64(1)


class PictureReader:
    """Reads screenshots for one family and keeps what was seen; safe in threads.

    Attributes:
        kept: The vision states by the pictures' keys.
    """

    def __init__(self, vision: Vision, *, cache_bytes: int, max_pixels: int) -> None:
        self._vision = vision
        self._max_pixels = max_pixels
        self.kept: Kept[bytes, Mapping[str, Tensor]] = Kept(cache_bytes)
        self._running = tuple(PatientLock() for _ in range(_NUM_RUNNING))

    def look(
        self, steps: Sequence[Step], failed: dict[int, SimilarFastError]
    ) -> list[Screenshot | None]:
        """The screenshot of each step, by its header; a bad one is noted in `failed`.

        A callable that several steps share is called once. A family without vision calls none.
        """
        screenshots: list[Screenshot | None] = [None] * len(steps)
        if self._vision.token is None:
            return screenshots
        looked: dict[int, Screenshot | SimilarFastError] = {}
        known: dict[bytes, Screenshot] = {}
        for i, step in enumerate(steps):
            if step.screenshot is None:
                continue
            found = looked.get(id(step.screenshot))
            if found is None:
                found = looked[id(step.screenshot)] = self._try_header(step)
            if isinstance(found, Screenshot):
                # Steps that took the same picture share its bytes.
                screenshots[i] = looked[id(step.screenshot)] = known.setdefault(found.key, found)
            else:
                failed[i] = found
        return screenshots

    def see(self, screenshot: Screenshot) -> Mapping[str, Tensor]:
        """The vision graph's outputs for `screenshot`, run once for each content.

        Raises:
            DataError: The pixels cannot be read.
            InferenceError: The session failed.
        """
        tensors = self.kept.get(screenshot.key)
        if tensors is not None:
            return tensors
        with self._running[screenshot.key[0] % len(self._running)] as has_waited:
            # Another thread may have run it meanwhile.
            tensors = self.kept.get(screenshot.key) if has_waited else None
            if tensors is None:
                image = open_image(screenshot.data, max_pixels=self._max_pixels)
                tensors = self._vision.run(image)
                num_bytes = sum(tensor_bytes(tensor) for tensor in tensors.values())
                self.kept.put(screenshot.key, tensors, num_bytes)
        return tensors

    def _try_header(self, step: Step) -> Screenshot | SimilarFastError:
        assert step.screenshot is not None  # noqa: S101  # the caller's check
        try:
            data = step.screenshot()
            if isinstance(data, bytearray | memoryview):
                data = bytes(data)
        except SimilarFastError as err:
            return err
        except Exception as err:  # noqa: BLE001  # whatever takes the picture is somebody else's
            failure = DataError(f"the screenshot cannot be taken: {type(err).__name__}: {err}")
            failure.__cause__ = err
            return failure
        if not isinstance(data, bytes):
            return DataError(
                f"the screenshot is of the type {type(data).__name__}; expected the bytes of a "
                "PNG, JPEG or WebP file"
            )
        try:
            width, height = image_size(data, max_pixels=self._max_pixels)
            grid = self._vision.grid(width, height)
        except SimilarFastError as err:
            return err
        return Screenshot(image_key(data), data, self._vision.num_tokens(grid), grid)
