"""Backbones in torch, as stage 0 trains them: steps of a state in, h and p with gradients out.

The prompts are those of `similar_fast.prompts`, token for token what the exported model reads. The
weights are transformers' modules, so they go back into a checkpoint.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from similar_fast_export.checkpoint import copy_companions
from similar_fast_export.reference import Reference, quiet
from torch import Tensor
from torch.nn import functional
from transformers import AutoModel

from similar_fast.errors import DataError, ModelError
from similar_fast.models.manifest import Manifest
from similar_fast.prompts import Prompt, PromptWriter
from similar_fast.train.drawing import drawing
from similar_fast.types import Step

__all__ = [
    "BackboneSettings",
    "PackedBert",
    "RowBackbone",
    "State",
    "TorchBackbone",
    "check_adapters",
    "check_backbone",
    "open_backbone",
    "save_backbone",
]

_NO_PEFT = 'adapters need `pip install "similar-fast[train]"`'

State = Sequence[Step]
"""Steps that differ in their action alone; at least one."""


@dataclass(frozen=True, slots=True)
class BackboneSettings:
    """What of a backbone is trained, and how it is held.

    Attributes:
        lora_rank: Rank of the adapters; 0 trains every weight. bert has no adapters.
        freezes_embeddings: Whether the tables of words and positions stay as they are.
        dtype: Of the weights while they are trained; bert has float32 alone.
        saves_memory: Whether activations are computed again on the way back; not for bert.
    """

    lora_rank: int = 0
    freezes_embeddings: bool = False
    dtype: Literal["float32", "bfloat16"] = "float32"
    saves_memory: bool = False


class TorchBackbone(Protocol):
    """A backbone that can be trained.

    Attributes:
        model: The layers, a module of transformers.
        hidden_size: H.
        device: Where it computes.
    """

    model: Any
    hidden_size: int
    device: torch.device

    def encode(self, states: Sequence[State]) -> tuple[Tensor, Tensor]:
        """H of every step, `[n, H]`, and p of every state, `[G, H]`, float32, with gradients."""
        ...


@dataclass(slots=True)
class _Pack:
    """All states of a batch in one row: prefix, actions, prefix, actions, ...

    Attributes:
        ids: Token ids of each part.
        positions: Of the same tokens; an action's go on where its prefix ends.
        prefix_of: The part that each part sees beside itself; -1 for a prefix.
        gates: Index of each state's gate token in the row.
        gate_parts: Which part each prefix is.
        scored: Index of each action's last token in the row.
        scored_parts: Which part each action is.
    """

    ids: list[NDArray[np.int64]] = field(default_factory=list)
    positions: list[NDArray[np.int64]] = field(default_factory=list)
    prefix_of: list[int] = field(default_factory=list)
    gates: list[int] = field(default_factory=list)
    gate_parts: list[int] = field(default_factory=list)
    scored: list[int] = field(default_factory=list)
    scored_parts: list[int] = field(default_factory=list)
    length: int = 0

    def add(self, prompts: Sequence[Prompt]) -> None:
        """One state; a prefix stands once, before the first of its actions."""
        starts: dict[int, int] = {}
        for i, prompt in enumerate(prompts):
            prefix = prompt.prefix
            # A long action leaves less room for its state, and then has a prefix of its own.
            if id(prefix) not in starts:
                starts[id(prefix)] = len(self.ids)
                if i == 0:
                    self.gates.append(self.length + prompt.gate_index)
                    self.gate_parts.append(len(self.ids))
                self._add_part(prefix, 0, -1)
            self.scored_parts.append(len(self.ids))
            self._add_part(prompt.suffix, len(prefix), starts[id(prefix)])
            self.scored.append(self.length - 1)

    def _add_part(self, ids: NDArray[np.int64], first_position: int, prefix: int) -> None:
        self.ids.append(ids)
        self.positions.append(first_position + np.arange(len(ids)))
        self.prefix_of.append(prefix)
        self.length += len(ids)


class PackedBert:
    """A BERT under the prefix-LM mask, all states of a batch in one row without padding.

    A state's prefix is run once for all its actions; each action sees the prefix and itself. The
    linear layers see one long row, attention goes part by part, and the last layer is run for those
    tokens only that are read. It gives what a row an action would give, for a third of the work.

    Source: Devlin et al. 2019 (the layers); Raffel et al. 2020, section 3.2.1 (the mask).
    """

    def __init__(self, checkpoint: Path, manifest: Manifest, *, dropout: float = 0.05) -> None:
        """Loads the layers.

        Args:
            checkpoint: A Hugging Face folder of a bert.
            manifest: Of a reward model that was exported from it: its prompt counts.
            dropout: Of each layer's two outputs, while the model is in training mode.
        """
        assert manifest.reward is not None  # noqa: S101  # the caller's check
        with quiet():
            # A pooler would be drawn where the checkpoint has none; no state goes through it.
            self.model: Any = AutoModel.from_pretrained(
                checkpoint, local_files_only=True, dtype=torch.float32, add_pooling_layer=False
            ).eval()
        self.hidden_size = manifest.hidden_size
        self.device = torch.device("cpu")
        self._dropout = dropout
        self._heads = self.model.config.num_attention_heads
        self._writer = PromptWriter(
            manifest.reward.prompt,
            checkpoint / "tokenizer.json",
            max_positions=manifest.max_positions,
        )

    def encode(self, states: Sequence[State]) -> tuple[Tensor, Tensor]:
        """See `TorchBackbone`."""
        pack = _Pack()
        for state in states:
            pack.add(self._writer.write_all(state, [0] * len(state)))
        found = self._run(pack)
        return found[: len(pack.scored)], found[len(pack.scored) :]

    def _run(self, pack: _Pack) -> Tensor:
        """The last layer's states of all scored tokens, then of all gate tokens."""
        ids, positions = (
            torch.from_numpy(np.concatenate(arrays)) for arrays in (pack.ids, pack.positions)
        )
        tables = self.model.embeddings
        state = tables.LayerNorm(
            tables.word_embeddings(ids)
            + tables.position_embeddings(positions)
            + tables.token_type_embeddings.weight[0]
        )
        lengths = [len(part) for part in pack.ids]
        everyone = range(len(lengths))
        layers = list(self.model.encoder.layer)
        for layer in layers[:-1]:
            queries = self._split(layer.attention.self.query(state), lengths)
            state = self._finish(layer, state, self._attend(layer, state, queries, everyone, pack))
        layer, read = layers[-1], pack.scored + pack.gates
        last = state[torch.tensor(read)]
        queries = self._split(layer.attention.self.query(last), [1] * len(read))
        of_parts = pack.scored_parts + pack.gate_parts
        return self._finish(layer, last, self._attend(layer, state, queries, of_parts, pack))

    def _attend(
        self,
        layer: Any,  # noqa: ANN401  # a module of transformers
        state: Tensor,
        queries: Sequence[Tensor],
        of_parts: Sequence[int],
        pack: _Pack,
    ) -> Tensor:
        """`[S, H]`: each query over its part and that part's prefix."""
        lengths = [len(part) for part in pack.ids]
        keys = self._split(layer.attention.self.key(state), lengths)
        values = self._split(layer.attention.self.value(state), lengths)
        mixed = []
        for query, part in zip(queries, of_parts, strict=True):
            key, value, prefix = keys[part], values[part], pack.prefix_of[part]
            if prefix >= 0:
                key = torch.cat([keys[prefix], key], dim=1)
                value = torch.cat([values[prefix], value], dim=1)
            out = functional.scaled_dot_product_attention(query[None], key[None], value[None])[0]
            mixed.append(out.transpose(0, 1).reshape(out.shape[1], -1))
        return torch.cat(mixed)

    def _split(self, values: Tensor, lengths: Sequence[int]) -> Sequence[Tensor]:
        """`[S, H]` -> `[heads, length, H / heads]` for each length."""
        rows = values.view(len(values), self._heads, -1).transpose(0, 1)
        return torch.split(rows, list(lengths), dim=1)

    def _finish(
        self,
        layer: Any,  # noqa: ANN401  # a module of transformers
        state: Tensor,
        mixed: Tensor,
    ) -> Tensor:
        out = layer.attention.output
        state = out.LayerNorm(state + self._dropped(out.dense(mixed)))
        inner = functional.gelu(layer.intermediate.dense(state))
        normed: Tensor = layer.output.LayerNorm(state + self._dropped(layer.output.dense(inner)))
        return normed

    def _dropped(self, values: Tensor) -> Tensor:
        return functional.dropout(values, self._dropout, self.model.training)


class RowBackbone:
    """Any other family: one row a step, by transformers' own template, processor and layers.

    Nothing is shared between the actions of a state, so that what is trained is what transformers
    computes; large backbones are trained by adapters (LoRA) on their linear layers.

    Source: Hu et al. 2022 (LoRA).
    """

    def __init__(
        self,
        checkpoint: Path,
        manifest: Manifest,
        settings: BackboneSettings,
        *,
        device: str = "cpu",
        seed: int = 0,
    ) -> None:
        """Loads the layers.

        Args:
            checkpoint: A Hugging Face folder.
            manifest: Of a reward model that was exported from it: its prompt counts.
            settings: What is trained.
            device: Where it computes.
            seed: Of the adapters' first weights.

        Raises:
            ImportError: peft is not installed, and adapters are asked for.
        """
        self._reference = Reference(checkpoint, manifest, dtype=settings.dtype)
        self.device = torch.device(device)
        self.hidden_size = manifest.hidden_size
        self._max_positions = manifest.max_positions
        self._with_adapters = settings.lora_rank > 0
        self.model: Any = self._reference.model.to(self.device)
        if self._with_adapters:
            with drawing(seed, self.device):
                self.model = _with_adapters(self.model, settings.lora_rank)
            self._reference.model = self.model
        if settings.saves_memory:
            newer = getattr(self.model, "activation_checkpointing_enable", None)
            (newer or self.model.gradient_checkpointing_enable)()
            self.model.enable_input_require_grads()

    def encode(self, states: Sequence[State]) -> tuple[Tensor, Tensor]:
        """See `TorchBackbone`."""
        hidden, gates = [], []
        for state in states:
            for i, step in enumerate(state):
                prompt = self._reference.prompt(step)
                if len(prompt.ids) > self._max_positions:
                    raise DataError(
                        f"a step has {len(prompt.ids)} tokens; expected at most "
                        f"{self._max_positions}: stage 0 cuts no state of this family"
                    )
                out = self._reference.run(prompt)
                hidden.append(out[-1])
                if i == 0:
                    gates.append(out[prompt.gate])
        return torch.stack(hidden), torch.stack(gates)

    def merged(self) -> Any:  # noqa: ANN401  # a module of transformers
        """The layers with what the adapters learnt; the backbone is of no more use then."""
        return self.model.merge_and_unload() if self._with_adapters else self.model


def _with_adapters(model: Any, rank: int) -> Any:  # noqa: ANN401  # modules of transformers
    """`model` with adapters beside its linear layers, alone to be trained."""
    try:
        from peft import LoraConfig, get_peft_model  # noqa: PLC0415  # heavy, and for adapters alone
    except ImportError as err:
        raise ImportError(_NO_PEFT) from err
    adapters = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear")
    with warnings.catch_warnings():
        # peft asks transformers by an older name.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        return get_peft_model(model, adapters)


def check_backbone(family: str, settings: BackboneSettings, *, device: str) -> None:
    """Refuses what a family cannot be trained with.

    Args:
        family: As a manifest has it.
        settings: What is to be trained.
        device: Where it is to compute.

    Raises:
        ModelError: bert is asked for what it does not have.
        ValueError: The rank is negative.
    """
    if settings.lora_rank < 0:
        raise ValueError(f"lora_rank is {settings.lora_rank}; expected at least 0")
    whole = replace(settings, freezes_embeddings=False)
    if family == "bert" and (whole != BackboneSettings() or device != "cpu"):
        raise ModelError(
            "a bert is trained whole, in float32 and on the CPU; found "
            f"lora_rank {settings.lora_rank}, dtype {settings.dtype}, saves_memory "
            f"{settings.saves_memory} and device {device!r}"
        )


def check_adapters(settings: BackboneSettings) -> None:
    """Refuses adapters without the library that makes them, before anything long begins.

    Raises:
        ImportError: peft is not installed, and adapters are asked for.
    """
    if settings.lora_rank > 0 and find_spec("peft") is None:
        raise ImportError(_NO_PEFT)


def open_backbone(
    checkpoint: Path,
    manifest: Manifest,
    settings: BackboneSettings | None = None,
    *,
    device: str = "cpu",
    seed: int = 0,
) -> "PackedBert | RowBackbone":
    """The backbone of `checkpoint`, ready to be trained.

    Args:
        checkpoint: A Hugging Face folder.
        manifest: Of a reward model that was exported from it.
        settings: What is trained; None for every weight in float32.
        device: Where it computes; bert computes on the CPU.
        seed: Of the adapters' first weights.

    Raises:
        ImportError: peft is not installed, and adapters are asked for.
        ModelError: As `check_backbone`.
        ValueError: As `check_backbone`.
    """
    settings = settings or BackboneSettings()
    check_backbone(manifest.family, settings, device=device)
    backbone: PackedBert | RowBackbone
    if manifest.family == "bert":
        backbone = PackedBert(checkpoint, manifest)
    else:
        backbone = RowBackbone(checkpoint, manifest, settings, device=device, seed=seed)
    if settings.freezes_embeddings:
        for module in backbone.model.modules():
            if isinstance(module, torch.nn.Embedding):
                module.weight.requires_grad_(False)
    return backbone


def save_backbone(backbone: "PackedBert | RowBackbone", source: Path, folder: Path) -> None:
    """Writes the trained layers as a checkpoint into `folder`, with the other files of `source`.

    Raises:
        OSError: A file cannot be written.
    """
    layers = backbone.merged() if isinstance(backbone, RowBackbone) else backbone.model
    with quiet():
        layers.save_pretrained(folder)
    copy_companions(source, folder)
