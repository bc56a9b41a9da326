"""A page as one text: what is put in, what keeps its address, and which pages stay files."""

from pathlib import Path

import pytest
from similar_fast.envs import miniwob
from similar_fast.envs.whole_page import whole_page

PAGE = """<!DOCTYPE html>
<head>
<link rel="stylesheet" type="text/css" href="../core/core.css">
<script src="../core/core.js"></script>
<SCRIPT type='text/javascript' src="../core/late.js" ></SCRIPT>
<!-- <script src="../core/none.js"></script> -->
<style>p { content: url(../core/a.png); }</style>
</head>
<img src="../core/b.png"><script>run('<link rel="stylesheet" href="none.css">');</script>
"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A page with two scripts and a style in the folder beside it."""
    (tmp_path / "core").mkdir()
    (tmp_path / "pages").mkdir()
    write(tmp_path / "core" / "core.js", b'const a = /<script/.test("\\1");')
    write(tmp_path / "core" / "late.js", b"// J\xf6rn\n")
    write(
        tmp_path / "core" / "core.css",
        b"a { background: url(x/i.png?a#b) } b { background: url( 'data:,1' ), url(\"%20.png\") }"
        b"c { background: url('http://x/c.png'), url(//x/c.png), url(#d) }",
    )
    return write(tmp_path / "pages" / "task.html", PAGE.encode())


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_scripts_and_styles_stand_in_the_page(page: Path) -> None:
    core = (page.parent.parent / "core").as_uri()

    text = whole_page(page)

    assert text == PAGE.replace(
        '<link rel="stylesheet" type="text/css" href="../core/core.css">',
        f'<style>a {{ background: url("{core}/x/i.png?a#b") }} '
        f'b {{ background: url("data:,1"), url("{core}/%20.png") }}'
        'c { background: url("http://x/c.png"), url("file://x/c.png"), url(#d) }</style>',
    ).replace(
        '<script src="../core/core.js"></script>',
        '<script>const a = /<script/.test("\\1");</script>',
        1,
    ).replace(
        """<SCRIPT type='text/javascript' src="../core/late.js" ></SCRIPT>""",
        "<script>// J\xf6rn\n</script>",
    )


def test_package_has_four_pages_that_stay_files() -> None:
    files = {task for task in miniwob.tasks() if miniwob.whole_page_of(task) is None}

    assert files == {"click-pie", "click-pie-nodelay", "stock-market", "unicode-test"}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("pages/task.html", PAGE.encode() + "é".encode()),
        ("pages/task.html", b'<meta charset="utf-8">' + PAGE.encode()),
        ("pages/task.html", b'<META CHARSET="utf-8">' + PAGE.encode()),
        ("pages/task.html", b'<script src="../core/none.js"></script>'),
        ("pages/task.html", b'<script src="../core/core.js" defer></script>'),
        ("pages/task.html", b'<script src="../core/core.js" type="module"></script>'),
        ("pages/task.html", b'<script src="../core/core.js">run();</script>'),
        ("pages/task.html", b'<link rel="stylesheet" href="../core/core.css" media="print">'),
        ("pages/task.html", b'<link rel="icon" href="../core/a.png">'),
        ("core/core.js", b"\xef\xbb\xbfrun();"),
        ("core/core.js", b"'</SCRIPT>'"),
        ("core/core.js", b"'<!--'"),
        ("core/late.js", b"'\x81'"),
        ("core/core.css", b"@import url(other.css);"),
        ("core/core.css", b"p::after { content: '</style>' }"),
    ],
)
def test_page_that_could_change_stays_a_file(page: Path, name: str, data: bytes) -> None:
    assert whole_page(page) is not None
    write(page.parent.parent / name, data)

    assert whole_page(page) is None
