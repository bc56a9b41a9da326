"""Screenshots are kept under their content, once, and never handed out changed."""

import hashlib
from io import BytesIO
from pathlib import Path
from threading import Thread

import PIL.Image
import pytest
from similar_fast.errors import DataError
from similar_fast.processing.images import MAX_BYTES
from similar_fast.srm.screenshots import ScreenshotStore


def picture(shade: int, kind: str = "PNG") -> bytes:
    stream = BytesIO()
    PIL.Image.new("RGB", (8, 6), (shade, 0, 0)).save(stream, kind, lossless=True)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "WebP"])
def test_a_picture_is_named_by_its_content_and_comes_back(kind: str, tmp_path: Path) -> None:
    store, data = ScreenshotStore(tmp_path / "new" / "shots"), picture(1, kind)

    name = store.put(data)

    assert name == f"{hashlib.sha256(data).hexdigest()}.{kind.lower()}"
    assert store.open(name) == data
    assert [path.name for path in store.folder.iterdir()] == [name]


def test_the_same_picture_is_written_once(tmp_path: Path) -> None:
    store = ScreenshotStore(tmp_path)
    name = store.put(picture(1))
    before = (tmp_path / name).stat()

    assert store.put(picture(1)) == name
    assert store.put(picture(2)) != name

    after = (tmp_path / name).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert len(list(tmp_path.iterdir())) == 2


def test_a_damaged_picture_is_not_handed_out_and_is_mended(tmp_path: Path) -> None:
    store = ScreenshotStore(tmp_path)
    name = store.put(picture(1))
    (tmp_path / name).write_bytes(picture(2))

    with pytest.raises(DataError, match="does not hold what its name says"):
        store.open(name)
    store.put(picture(1))

    assert store.open(name) == picture(1)


@pytest.mark.parametrize(
    "data", [b"", b"GIF89a", b"\x89PNG", b"RIFF1234WAVE", b"\xff\xd8\xff\xe0"], ids=repr
)
def test_what_is_no_png_or_webp_is_refused(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected PNG or WebP"):
        ScreenshotStore(tmp_path).put(data)
    assert list(tmp_path.iterdir()) == []


def test_a_picture_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"expected {MAX_BYTES} at most"):
        ScreenshotStore(tmp_path).put(picture(1) + bytes(MAX_BYTES))


@pytest.mark.parametrize(
    "name", ["", "../secret.png", "a.png", f"{'0' * 64}.jpg", f"{'G' * 64}.png"]
)
def test_a_name_that_is_none_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no SHA-256"):
        ScreenshotStore(tmp_path).open(name)


def test_a_picture_that_is_not_there_is_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ScreenshotStore(tmp_path).open(f"{'0' * 64}.png")


def test_many_threads_may_put_one_picture(tmp_path: Path) -> None:
    store = ScreenshotStore(tmp_path / "shots")
    threads = [Thread(target=store.put, args=(picture(1),)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    (path,) = (tmp_path / "shots").iterdir()
    assert store.open(path.name) == picture(1)
