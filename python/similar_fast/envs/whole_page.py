"""A page and the scripts and styles that it loads, as one text: nothing is left to be fetched.

A browser that is given such a text, time and again, spends less than on the page's address. What is
run and shown is the same, in the same order. Images stay where they are.
"""

import codecs
import re
from pathlib import Path
from urllib.parse import urljoin

__all__ = ["whole_page"]

_PIECE = re.compile(
    r"<!--.*?-->"
    r"|<script\b(?P<script>[^>]*)>(?P<code>.*?)</script>"
    r"|<link\b(?P<link>[^>]*)>",
    re.IGNORECASE | re.DOTALL,
)
_ATTRIBUTE = re.compile(r"""\s*([\w-]+)\s*=\s*("[^"]*"|'[^']*')""")
_IMAGE = re.compile(r"""url\(\s*("[^"]*"|'[^']*'|[^"')\s]*)\s*\)""", re.IGNORECASE)
# What would end or change the element that a file's text is put into.
_BREAKS_SCRIPT = re.compile(r"<!--|</script", re.IGNORECASE)
_BREAKS_STYLE = re.compile(r"</style|@import|@charset", re.IGNORECASE)
_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class _NotWholeError(Exception):
    """A part has to stay a file."""


def whole_page(path: Path) -> str | None:
    """The page in `path` with its scripts and styles in it.

    A page in ASCII that names no encoding is taken for windows-1252, and so are its scripts.

    Args:
        path: An HTML file, whose relative addresses are those of the page that the text will be
            written into.

    Returns:
        The text; None where the page is not in ASCII or names an encoding, where a part cannot be
        read, and where it could not stand in a page as it is. Such a page has to be opened by its
        address.
    """
    try:
        page = path.read_text("ascii")
        if "charset" in page.lower():
            return None
        return _PIECE.sub(lambda piece: _whole(piece, path.absolute().parent), page)
    except (OSError, UnicodeDecodeError, _NotWholeError):
        return None


def _whole(piece: re.Match[str], folder: Path) -> str:
    """A comment or an element of the page, with what it loads in it."""
    if piece["script"] is not None:
        attributes = _attributes(piece["script"])
        source = attributes.pop("src", None)
        if source is None:
            return piece[0]
        if piece["code"].strip() or not _is_plain(attributes, "text/javascript"):
            raise _NotWholeError
        return f"<script>{_read(folder / source, _BREAKS_SCRIPT)}</script>"
    if piece["link"] is not None:
        attributes = _attributes(piece["link"])
        if attributes.pop("rel", None) != "stylesheet" or "href" not in attributes:
            raise _NotWholeError
        path = folder / attributes.pop("href")
        if not _is_plain(attributes, "text/css"):
            raise _NotWholeError
        text = _read(path, _BREAKS_STYLE)
        return f"<style>{_IMAGE.sub(lambda image: _image(image, path), text)}</style>"
    return piece[0]


def _attributes(text: str) -> dict[str, str]:
    found = {name.lower(): value[1:-1] for name, value in _ATTRIBUTE.findall(text)}
    if _ATTRIBUTE.sub("", text).strip(" \t\r\n/"):
        raise _NotWholeError
    return found


def _is_plain(attributes: dict[str, str], kind: str) -> bool:
    """Whether an element runs or applies at once, by its attributes beside the address."""
    return attributes in ({}, {"type": kind})


def _image(image: re.Match[str], style: Path) -> str:
    """The same image by its whole address: one in a style is relative to the style's file."""
    address = image[1].strip("\"' ")
    if address.startswith("#"):
        return image[0]
    return f'url("{urljoin(style.as_uri(), address)}")'


def _read(path: Path, breaks: re.Pattern[str]) -> str:
    data = path.read_bytes()
    text = data.decode("cp1252")
    if data.startswith(_MARKS) or breaks.search(text):
        raise _NotWholeError
    return text
