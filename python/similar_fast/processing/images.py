"""Bytes from outside become an RGB picture, or a `DataError` within bounded time and memory.

What transformers' PIL image processors do with a picture that was opened by Pillow is followed to
the value: transparency lies on white, a palette and grey become RGB, 16-bit grey is clipped at 255
and not scaled, CMYK is converted without a colour profile, and EXIF orientation is not applied.
(`load_image` of transformers, which opens paths and URLs, differs: it turns by EXIF and drops
transparency.) Why Pillow, and what it is trusted with: `docs/decisions/pillow.md`.
"""

import hashlib
import struct
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from itertools import islice
from typing import TYPE_CHECKING

from similar_fast.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

__all__ = ["MAX_BYTES", "MAX_PIXELS", "image_key", "image_size", "open_image"]

MAX_PIXELS = 50_000_000
"""Most pixels of a picture that is decoded, unless the caller says otherwise."""

MAX_BYTES = 64 * 1024 * 1024
"""Most bytes of a picture's file."""

_EXPECTED = "expected PNG, JPEG or WebP"
_REFUSED = {b"GIF8": "GIF", b"BM": "BMP", b"II*\0": "TIFF", b"MM\0*": "TIFF", b"%PDF": "PDF"}

# Each chunk costs Pillow some microseconds, and each colour profile may unpack to a mebibyte.
_MAX_PNG_CHUNKS = 65_536
_MAX_PNG_PROFILES = 1

# Each scan of a progressive JPEG passes over all pixels, however few bytes it has; encoders write
# about ten. The marker may also stand in an appended thumbnail.
_JPEG_SCAN = b"\xff\xda"
_MAX_JPEG_SCANS = 100


def open_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> "Image":
    """The picture in `data`, decoded, mode RGB.

    Args:
        data: A PNG, JPEG or WebP file with one frame. Of a JPEG that holds several pictures (MPO)
            the first is read.
        max_pixels: Most pixels that are decoded; the header is read first.

    Raises:
        DataError: `data` is empty, of another format, larger than `MAX_BYTES`, animated, truncated,
            broken, or made to unpack to far more than it shows; the picture has more pixels
            than `max_pixels`.
    """
    image = _read_header(data, max_pixels)
    try:
        image.load()
        return _to_rgb(image)
    except Exception as err:
        raise _broken(image.format, err) from err


def image_size(data: bytes, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """(width, height) in pixels by the header of `data`; no pixel is decoded.

    Raises:
        DataError: As `open_image`, but for what only decoding shows.
    """
    return _read_header(data, max_pixels).size


def image_key(data: bytes) -> bytes:
    """What `data` is known by in a cache: its BLAKE2b digest, 32 bytes."""
    return hashlib.blake2b(data, digest_size=32).digest()


def _read_header(data: bytes, max_pixels: int) -> "ImageFile":
    """The picture, not yet decoded, by the one plugin that `data` begins like.

    `PIL.Image.open` is passed by: it tries further plugins, and its own limit on pixels is a
    setting of the process and warns where ours refuses.
    """
    kind = _kind_of(data)
    if len(data) > MAX_BYTES:
        raise DataError(f"the {kind} picture has {len(data)} bytes; expected at most {MAX_BYTES}")
    try:
        image = _OPENERS[kind](data)
    except DataError:
        raise
    except Exception as err:
        raise _broken(kind, err) from err
    width, height = image.size
    if width * height > max_pixels:
        raise DataError(
            f"the {kind} picture has {width} x {height} = {width * height} pixels; "
            f"expected at most {max_pixels}"
        )
    return image


def _kind_of(data: bytes) -> str:
    if not data:
        raise DataError(f"the picture has 0 bytes; {_EXPECTED}")
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    for mark, name in _REFUSED.items():
        if data.startswith(mark):
            raise DataError(f"the picture is a {name} file; {_EXPECTED}")
    raise DataError(f"the picture begins with {bytes(data[:8])!r}; {_EXPECTED}")


def _open_png(data: bytes) -> "ImageFile":
    from PIL.PngImagePlugin import PngImageFile  # noqa: PLC0415  # `import similar_fast` stays light

    chunks = Counter(islice(_png_chunks(data), _MAX_PNG_CHUNKS + 1))
    if chunks.total() > _MAX_PNG_CHUNKS:
        raise DataError(f"the PNG picture has more than {_MAX_PNG_CHUNKS} chunks, the most allowed")
    if chunks[b"iCCP"] > _MAX_PNG_PROFILES:
        raise DataError(
            f"the PNG picture has {chunks[b'iCCP']} colour profiles; "
            f"expected at most {_MAX_PNG_PROFILES}"
        )
    if chunks[b"acTL"]:
        raise DataError("the PNG picture is animated; expected one frame")
    return PngImageFile(BytesIO(data))


def _png_chunks(data: bytes) -> Iterator[bytes]:
    """The types of the chunks as far as they can be followed; Pillow judges what is broken."""
    start = 8
    while start + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        yield kind
        start += length + 12


def _open_jpeg(data: bytes) -> "ImageFile":
    from PIL.JpegImagePlugin import JpegImageFile  # noqa: PLC0415  # as in _open_png

    scans = data.count(_JPEG_SCAN)
    if scans > _MAX_JPEG_SCANS:
        raise DataError(
            f"the JPEG picture has {scans} scans; expected at most {_MAX_JPEG_SCANS}",
        )
    return JpegImageFile(BytesIO(data))


def _open_webp(data: bytes) -> "ImageFile":
    from PIL.WebPImagePlugin import WebPImageFile  # noqa: PLC0415  # as in _open_png

    image = WebPImageFile(BytesIO(data))
    if image.n_frames > 1:
        raise DataError(f"the WEBP picture is animated: {image.n_frames} frames; expected one")
    return image


_OPENERS = {"PNG": _open_png, "JPEG": _open_jpeg, "WEBP": _open_webp}


def _to_rgb(image: "Image") -> "Image":
    """`image` on white, as `transformers.image_transforms.convert_to_rgb` lays it."""
    from PIL import Image as pillow  # noqa: PLC0415, N813  # as in _open_png; a module

    if "A" in image.getbands() or image.info.get("transparency") is not None:
        shown = image if image.mode == "RGBA" else image.convert("RGBA")
        if shown.getchannel("A").getextrema() != (255, 255):  # else white would not show
            white = pillow.new("RGBA", image.size, (255, 255, 255, 255))
            shown = pillow.alpha_composite(white, shown)
        image = shown
    return image if image.mode == "RGB" else image.convert("RGB")


def _broken(kind: str | None, err: Exception) -> DataError:
    return DataError(f"the {kind} picture cannot be read: {type(err).__name__}: {err}")
