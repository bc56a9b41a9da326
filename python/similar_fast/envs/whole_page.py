"""A page and the scripts and styles that it loads, as one text: nothing is left to be fetched.

A browser that is given such a text, time and again, spends less than on the page's address. What is
run and shown is the same, in the same order. Images stay where they are.
"""

import re
from pathlib import Path

__all__ = ["whole_page"]

_SCRIPT = re.compile(r'<script\b[^>]*?\bsrc="([^"]+)"[^>]*>\s*</script>', re.IGNORECASE)
_STYLE = re.compile(r'<link\b[^>]*?\brel="stylesheet"[^>]*?\bhref="([^"]+)"[^>]*>', re.IGNORECASE)
_IMAGE = re.compile(r"""url\(\s*(["']?)(?!data:)([^"')]+)\1\s*\)""", re.IGNORECASE)
# What would end or change the element that a file's text is put into.
_BREAKS_SCRIPT = re.compile(r"<!--|</script", re.IGNORECASE)
_BREAKS_STYLE = re.compile(r"</style|@import|@charset", re.IGNORECASE)


class _NotWholeError(Exception):
    """A part has to stay a file."""


def whole_page(path: Path) -> str | None:
    """The page in `path` with its scripts and styles in it.

    A page in ASCII that names no encoding is taken for windows-1252, and so are its scripts.

    Args:
        path: An HTML file, whose relative addresses are those of the page that the text will be
            written into.

    Returns:
        The text; None where the page is not in ASCII, names an encoding, or a part cannot be read
        or put in. Such a page has to be opened by its address.
    """
    try:
        page = path.read_text("ascii")
        if "charset" in page:
            return None
        page = _SCRIPT.sub(lambda found: _script(path.parent / found[1]), page)
        return _STYLE.sub(lambda found: _style(path.parent / found[1]), page)
    except (OSError, UnicodeDecodeError, _NotWholeError):
        return None


def _script(path: Path) -> str:
    return f"<script>{_read(path, _BREAKS_SCRIPT)}</script>"


def _style(path: Path) -> str:
    text = _read(path, _BREAKS_STYLE)
    folder = path.resolve().parent
    return f"<style>{_IMAGE.sub(lambda image: _image(folder / image[2]), text)}</style>"


def _image(path: Path) -> str:
    """An address in a style is relative to the style's file."""
    return f'url("{path.resolve().as_uri()}")'


def _read(path: Path, breaks: re.Pattern[str]) -> str:
    text = path.read_text("cp1252")
    if breaks.search(text):
        raise _NotWholeError
    return text
