"""Pictures for the tests: drawn at random, encoded, and made to do harm."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

PNG_MARK = b"\x89PNG\r\n\x1a\n"


def draw(width: int, height: int, *, mode: str = "RGB", seed: int = 0) -> Image.Image:
    """A picture of flat areas and noise, in any mode that a PNG or a JPEG can hold."""
    rng = np.random.default_rng([seed, width, height])
    levels = rng.integers(0, 256, (height, width, 4), np.uint8)
    levels[: height // 2, :, :3] = rng.integers(0, 256, 3)
    levels[:, : width // 3, 3] = rng.choice([0, 255])
    picture = Image.fromarray(levels)
    if mode == "I;16":
        return Image.fromarray(levels[..., 0].astype(np.uint16) * 2)
    if mode == "RGBA":
        return picture
    if mode == "LA":
        return picture.convert("LA")
    return picture.convert("RGB").convert(mode)


def encode(picture: Image.Image, form: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, form, **options)
    return stream.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    crc = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def png(width: int, height: int, *, rows: bytes = b"", extra: bytes = b"") -> bytes:
    """A grey PNG whose header says what it likes; `rows` are deflated, `extra` stands before."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows, 9))
    return PNG_MARK + body + chunk(b"IEND", b"")


def webp(width: int, height: int) -> bytes:
    """A WebP whose canvas says what it likes and holds one pixel."""
    frame = encode(Image.new("RGB", (1, 1)), "WEBP", lossless=True)[12:]
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBP" + b"VP8X" + struct.pack("<I", 10) + bytes(4) + canvas + frame
    return b"RIFF" + struct.pack("<I", len(body)) + body


def many_scans(side: int, count: int) -> bytes:
    """A progressive JPEG whose last scan, with its table, comes `count` times more."""
    data = encode(Image.new("L", (side, side)), "JPEG", progressive=True)
    last = data.rfind(b"\xff\xc4", 0, data.rfind(b"\xff\xda"))
    return data[:-2] + data[last:-2] * count + data[-2:]


def profiles(count: int) -> bytes:
    """Colour profiles that each unpack to a mebibyte."""
    return chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(1 << 20), 9)) * count
