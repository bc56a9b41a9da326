"""transformers as the peer of a reward model: whole prompts, and one that keeps the prefix.

The peer runs in eager mode with torch's scaled_dot_product_attention, the default. Its prompts
are written and its pictures are cut once a state, as ours are, which upstream's script does not.
"""

import copy
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from similar_fast.models.manifest import Manifest
from similar_fast.types import Step
from similar_fast_export.reference import Reference, WholePrompt
from transformers import DynamicCache

__all__ = ["Kept", "Peer"]

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """A state that was run: what warm candidates need.

    Attributes:
        cache: Keys and values of the prefix.
        length: Tokens of the prefix.
        next_position: Where a continuation stands on every axis.
        gate: `[H]`, the state that the gate reads.
    """

    cache: DynamicCache
    length: int
    next_position: int
    gate: torch.Tensor


class Peer(Reference):
    """A checkpoint on a device; features are `[n, H]` float32 arrays on the host.

    Args:
        checkpoint: Its folder.
        manifest: Of the exported model.
        dtype: `float32` or `float16`.
        device: As torch names it.
    """

    def __init__(self, checkpoint: Path, manifest: Manifest, *, dtype: str, device: str) -> None:
        super().__init__(checkpoint, manifest, dtype=dtype)
        self.device = torch.device(device)
        self.model.to(self.device)
        arguments = inspect.signature(self.model.forward).parameters
        self._cache_name = "cache" if "cache" in arguments else "past_key_values"
        self._seen: dict[bytes, tuple[dict[str, Any], int]] = {}

    def prompts(self, steps: Sequence[Step]) -> list[WholePrompt]:
        """The prompts of one state's candidates; its picture is cut once."""
        self._seen.clear()
        return [self.prompt(step) for step in steps]

    def whole(self, prompts: Sequence[WholePrompt]) -> tuple[Floats, Floats]:
        """Every prompt from its first token to its last, one after another, as upstream does."""
        rows = []
        for prompt in prompts:
            out = self._run(torch.from_numpy(prompt.ids)[None], prompt.image)
            rows.append(out.last_hidden_state[0, [len(prompt.ids) - 1, prompt.gate]])
        both = torch.stack(rows).float().cpu().numpy()
        return both[:, 0], both[:, 1]

    def prefix(self, prompts: Sequence[WholePrompt]) -> Kept:
        """Runs what the prompts share."""
        length = _shared(prompts)
        prompt = prompts[0]
        ids = torch.from_numpy(prompt.ids[:length])[None]
        # rope_deltas of the model are those of its latest prefix: positions are told outright.
        cache = DynamicCache()
        out = self._run(ids, prompt.image, use_cache=True, **{self._cache_name: cache})
        delta = int(self.model.rope_deltas.reshape(-1)[0]) if prompt.image else 0
        gate = out.last_hidden_state[0, prompt.gate]
        return Kept(cache, length, length + delta, gate)

    def continued(self, kept: Kept, prompts: Sequence[WholePrompt]) -> tuple[Floats, Floats]:
        """The candidates as one batch behind a copy of the kept prefix."""
        suffixes = [prompt.ids[kept.length :] for prompt in prompts]
        width = max(map(len, suffixes))
        ids = np.zeros((len(suffixes), width), np.int64)  # causal: what is behind changes nothing
        for row, suffix in zip(ids, suffixes, strict=True):
            row[: len(suffix)] = suffix
        cache = copy.deepcopy(kept.cache)
        cache.batch_repeat_interleave(len(suffixes))
        positions = torch.arange(width, device=self.device) + kept.next_position
        with torch.inference_mode():
            out = self.model(
                input_ids=torch.from_numpy(ids).to(self.device),
                position_ids=positions.expand(3, len(suffixes), width),
                use_cache=True,
                **{self._cache_name: cache},
            )
        last = torch.tensor([len(suffix) - 1 for suffix in suffixes], device=self.device)
        rows = torch.arange(len(suffixes), device=self.device)
        hidden = out.last_hidden_state[rows, last].float().cpu().numpy()
        gate = kept.gate.float().cpu().numpy()
        return hidden, np.repeat(gate[None], len(suffixes), axis=0)

    def _run(self, ids: torch.Tensor, image: dict[str, Any], **options: object) -> Any:  # noqa: ANN401  # transformers' own
        inputs = {name: tensor.to(self.device) for name, tensor in image.items()}
        if inputs:
            assert self._spec.patches is not None
            inputs["mm_token_type_ids"] = (ids == self._spec.patches.token).int().to(self.device)
        with torch.inference_mode():
            return self.model(input_ids=ids.to(self.device), **inputs, **options)

    def _image(self, data: bytes) -> tuple[dict[str, Any], int]:
        if data not in self._seen:
            self._seen[data] = super()._image(data)
        return self._seen[data]


def _shared(prompts: Sequence[WholePrompt]) -> int:
    """Tokens that all prompts begin with, at least one fewer than the shortest has."""
    shortest = min(len(prompt.ids) for prompt in prompts)
    rows = np.stack([prompt.ids[: shortest - 1] for prompt in prompts])
    differs = (rows != rows[0]).any(axis=0)
    length = int(np.argmax(differs)) if differs.any() else shortest - 1
    assert length > prompts[0].gate
    return length
