"""Opening screenshots: equal to transformers where a picture is good, a DataError where it is not.

The reference is what transformers' PIL image processors make of a picture that Pillow opened.
"""

import io
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import chunk, draw, encode, many_scans, png, profiles, webp
from PIL import Image
from similar_fast.errors import DataError
from similar_fast.processing.images import MAX_BYTES, image_key, image_size, open_image
from transformers.image_transforms import convert_to_rgb

TEXT_BOMB = b"key\0\0" + zlib.compress(bytes(2 << 20), 9)
PROFILE_BOMB = b"x\0\0" + zlib.compress(bytes(2 << 20), 9)


def assert_as_reference(data: bytes) -> None:
    found = open_image(data)

    assert found.mode == "RGB"
    with Image.open(io.BytesIO(data)) as picture:
        np.testing.assert_array_equal(
            np.asarray(found), convert_to_rgb(picture, return_numpy=True), strict=True
        )


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_png_of_each_mode_as_the_reference(mode: str) -> None:
    assert_as_reference(encode(draw(37, 23, mode=mode)))


@pytest.mark.parametrize(
    ("mode", "transparency"),
    [("P", 3), ("P", bytes(range(256))), ("L", 7), ("RGB", (1, 2, 3)), ("1", 0)],
)
def test_png_with_a_transparent_colour_as_the_reference(mode: str, transparency: object) -> None:
    data = encode(draw(37, 23, mode=mode), transparency=transparency)

    assert b"tRNS" in data
    assert_as_reference(data)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_of_each_mode_as_the_reference(mode: str, *, progressive: bool) -> None:
    assert_as_reference(encode(draw(37, 23, mode=mode), "JPEG", progressive=progressive))


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("lossless", [False, True])
def test_webp_of_each_mode_as_the_reference(mode: str, *, lossless: bool) -> None:
    assert_as_reference(encode(draw(37, 23, mode=mode), "WEBP", lossless=lossless))


def test_transparency_lies_on_white() -> None:
    picture = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    picture.putpixel((1, 0), (0, 0, 0, 255))

    opened = open_image(encode(picture))

    assert [opened.getpixel((x, 0)) for x in (0, 1)] == [(255, 255, 255), (0, 0, 0)]


def test_opaque_levels_are_kept_as_the_reference_keeps_them() -> None:
    levels = np.full((1, 256, 4), 255, np.uint8)
    levels[0, :, :3] = np.arange(256)[:, None]

    assert_as_reference(encode(Image.fromarray(levels)))


def test_grey_of_16_bits_is_clipped_not_scaled() -> None:
    opened = open_image(encode(Image.fromarray(np.array([[0, 200, 255, 256, 65535]], np.uint16))))

    assert np.asarray(opened)[0, :, 0].tolist() == [0, 200, 255, 255, 255]


def test_exif_orientation_is_not_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    data = encode(draw(37, 23), "JPEG", exif=exif)

    assert open_image(data).size == (37, 23) == image_size(data)
    assert_as_reference(data)


def test_first_picture_of_a_jpeg_with_several_as_the_reference() -> None:
    data = encode(draw(37, 23), "MPO", save_all=True, append_images=[draw(37, 23, seed=1)])

    assert_as_reference(data)


def test_size_is_read_without_the_pixels() -> None:
    data = encode(draw(37, 23))

    assert image_size(data[: data.index(b"IDAT") + 8]) == (37, 23)


def test_key_is_the_digest_of_the_bytes() -> None:
    assert image_key(b"a") == image_key(bytes(bytearray(b"a")))
    assert len({image_key(b"a"), image_key(b"b"), image_key(b"")}) == 3
    assert len(image_key(b"")) == 32


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the picture has 0 bytes; expected PNG, JPEG or WebP"),
        (b"hello, screen", r"the picture begins with b'hello, s'; expected PNG, JPEG or WebP"),
        (b"\x89PN", "begins with"),
        (b"RIFF\0\0\0\0WAVE", "begins with"),
        (b"\x89PNG\r\n\x1a\n", "the PNG picture cannot be read"),
        (b"\xff\xd8\xff", "the JPEG picture cannot be read"),
        (b"RIFF\0\0\0\0WEBP", "the WEBP picture cannot be read"),
        (encode(draw(9, 9), "GIF"), "the picture is a GIF file; expected PNG, JPEG or WebP"),
        (encode(draw(9, 9), "BMP"), "is a BMP file"),
        (encode(draw(9, 9), "TIFF"), "is a TIFF file"),
        (png(0, 5), "cannot be read"),
        (png(5, 0), "cannot be read"),
        (b"\x89PNG\r\n\x1a\n" + bytes(MAX_BYTES), f"bytes; expected at most {MAX_BYTES}"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_no_picture_is_a_data_error(data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_image(data)


@pytest.mark.parametrize("form", ["PNG", "WEBP", "GIF"])
def test_animation_is_a_data_error(form: str) -> None:
    frames = [draw(9, 9, seed=seed) for seed in range(3)]
    data = encode(frames[0], form, save_all=True, append_images=frames[1:])

    with pytest.raises(DataError, match=r"is animated|is a GIF file"):
        open_image(data)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_truncated_picture_is_a_data_error(form: str) -> None:
    data = encode(draw(60, 60), form)

    for length in range(0, len(data) * 9 // 10, max(1, len(data) // 50)):
        with pytest.raises(DataError):
            open_image(data[:length])


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_pixel_cap_is_exact_and_says_both_sides(form: str) -> None:
    data = encode(draw(20, 10), form)

    assert open_image(data, max_pixels=200).size == (20, 10)
    for function in (open_image, image_size):
        with pytest.raises(DataError, match="has 20 x 10 = 200 pixels; expected at most 199"):
            function(data, max_pixels=199)


BOMBS = {
    "100 megapixels in 100 kB": (png(10_000, 10_000, rows=bytes(10_001 * 10_000)), "= 100000000"),
    "a header of 4 gigapixels": (png(65_535, 65_535), "= 4294836225 pixels"),
    # Pillow makes no decoder for it, so its size is never asked for.
    "a WebP canvas of 144 megapixels": (webp(12_000, 12_000), "cannot be read"),
    "a WebP canvas of 281 terapixels": (webp(1 << 24, 1 << 24), "cannot be read"),
    "a text that unpacks": (png(1, 1, rows=b"00", extra=chunk(b"zTXt", TEXT_BOMB)), "too large"),
    "a profile that unpacks": (
        png(1, 1, rows=b"00", extra=chunk(b"iCCP", PROFILE_BOMB)),
        "too large",
    ),
    "a thousand profiles": (png(1, 1, rows=b"00", extra=profiles(1000)), "1000 colour profiles"),
    "a hundred thousand chunks": (
        png(1, 1, rows=b"00", extra=chunk(b"zzZz", b"") * 100_000),
        "65536 chunks",
    ),
    "a thousand scans": (many_scans(2000, 1000), "scans; expected at most 100"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bomb_is_a_data_error(name: str) -> None:
    data, message = BOMBS[name]

    with pytest.raises(DataError, match=message):
        open_image(data)


GUARD = """
import resource, sys
from pathlib import Path
from PIL import JpegImagePlugin, PngImagePlugin, WebPImagePlugin
from similar_fast.errors import DataError
from similar_fast.processing.images import open_image

bombs = [path.read_bytes() for path in sorted(Path(sys.argv[1]).iterdir())]
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + (48 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for bomb in bombs:
    try:
        open_image(bomb)
    except DataError as err:
        if isinstance(err.__cause__, MemoryError):
            raise
    else:
        sys.exit("a bomb was opened")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the address space is read from /proc")
@pytest.mark.timeout(120)
def test_bombs_take_less_than_48_mebibytes(tmp_path: Path) -> None:
    for i, (data, _) in enumerate(BOMBS.values()):
        (tmp_path / f"{i}").write_bytes(data)

    shown = subprocess.run(
        [sys.executable, "-c", GUARD, str(tmp_path)], check=False, capture_output=True, text=True
    )

    assert shown.returncode == 0, shown.stderr


@given(st.sampled_from(["PNG", "JPEG", "WEBP"]), st.data())
@settings(max_examples=150)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_altered_bytes_give_a_picture_or_a_data_error(form: str, draws: st.DataObject) -> None:
    data = bytearray(encode(draw(12, 7, mode="RGB" if form == "JPEG" else "RGBA"), form))
    for _ in range(draws.draw(st.integers(1, 4))):
        place = draws.draw(st.integers(0, len(data) - 1))
        data[place] = draws.draw(st.integers(0, 255))

    try:
        opened = open_image(bytes(data), max_pixels=10_000)
    except DataError:
        return

    assert opened.mode == "RGB"
    assert opened.size == image_size(bytes(data))


def test_text_that_forges_transparency_is_a_data_error() -> None:
    data = png(1, 1, rows=b"\0\0", extra=chunk(b"tEXt", b"transparency\0yes"))

    with pytest.raises(DataError, match="the PNG picture cannot be read"):
        open_image(data)


def test_package_and_the_patches_load_no_pillow() -> None:
    code = (
        "import sys, similar_fast, similar_fast.processing.patches, "
        "similar_fast.processing.tiles, similar_fast.processing.images; "
        "sys.exit('PIL' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
