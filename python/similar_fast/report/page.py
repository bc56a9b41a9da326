"""What every page is made of: a template with holes, the common style, text that stays text."""

import html
import re
from collections.abc import Mapping
from importlib import resources

__all__ = ["escaped", "fill", "part"]

_HOLE = re.compile(r"\{\{(\w+)\}\}")


def part(name: str) -> str:
    """The text of the file `name` beside this module."""
    return resources.files("similar_fast.report").joinpath(name).read_text(encoding="ascii")


def fill(template: str, filling: Mapping[str, str]) -> str:
    """The file `template` with its holes filled; `{{style}}` is the style that all pages share.

    One pass, so that a filling which spells a hole stays what it is.

    Raises:
        KeyError: The template has a hole that `filling` does not name.
    """
    known = {"style": part("style.css"), **filling}
    return _HOLE.sub(lambda hole: known[hole[1]], part(template))


def escaped(text: str) -> str:
    """`text` as ASCII that a browser shows as that text, within an element or an attribute."""
    return html.escape(text).encode("ascii", "xmlcharrefreplace").decode()
