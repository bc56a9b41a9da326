"""Score and search the next action of a GUI agent."""

from similar_fast._core import __version__

__all__ = ["__version__"]
