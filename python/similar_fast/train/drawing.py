"""Draws that are a function of a seed and a step, so that a run that goes on draws what it would."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["drawing", "step_seed"]


def step_seed(seed: int, step: int) -> int:
    """The seed of one step's dropout, below 2^63."""
    text = f"{seed}:{step}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


@contextmanager
def drawing(seed: int, device: torch.device) -> Iterator[None]:
    """Within it torch draws from `seed`; afterwards as if nothing had been drawn.

    Args:
        seed: In [0, 2^63).
        device: Where draws are made beside the CPU.
    """
    devices = [] if device.type == "cpu" else [device]
    with torch.random.fork_rng(devices=devices, device_type=device.type if devices else "cuda"):
        torch.manual_seed(seed)
        yield
