"""Which packer made a file, by its first bytes."""

from typing import Literal

__all__ = ["NUM_MAGIC_BYTES", "packing_of"]

_MAGIC: dict[Literal["gzip", "xz"], bytes] = {"gzip": b"\x1f\x8b", "xz": b"\xfd7zXZ\x00"}

NUM_MAGIC_BYTES = max(map(len, _MAGIC.values()))
"""So many bytes of a file's beginning are enough."""


def packing_of(begin: bytes) -> Literal["gzip", "xz"] | None:
    """The packer of a file that begins with `begin`; None where it is none of these."""
    return next((kind for kind, magic in _MAGIC.items() if begin.startswith(magic)), None)
