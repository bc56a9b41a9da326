"""`HeadsModule`: the heads in torch, for training, for stage 0 and to hold an export against.

The formula is that of `similar_fast.models.heads`. The names of the parameters are those of the
tensors in `heads.safetensors`. Imports torch, of the extras `train` and of the export's `verify`.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from similar_fast.dimensions import DIMENSIONS
from similar_fast.models.heads import TEMPERATURE, Heads, heads_of
from similar_fast.types import Scores

__all__ = ["DROPOUT", "GATE_WIDTHS", "Gate", "HeadsModule", "Judged"]

DROPOUT = 0.2
"""Upstream's share of a hidden layer's outputs that a training step leaves out."""

GATE_WIDTHS = (1024, 1024, 1024)
"""Upstream's hidden layers of the gate."""

_Floats = NDArray[np.float32]


class Judged(NamedTuple):
    """What the heads make of n steps.

    Attributes:
        dims: `[n, 5]`, r, in the order of `DIMENSIONS`.
        weights: `[n, 5]`, g; 1 where there is no gate.
        total: `[n]`, g . r.
    """

    dims: Tensor
    weights: Tensor
    total: Tensor


class Gate(nn.Module):
    """g = softmax(MLP(p) / T) s, with a ReLU and, in training, dropout between two layers.

    Source: Miao et al. 2025, section 4; Wang et al. 2024 (ArmoRM), section 2.2.

    Attributes:
        layers: The linear layers of the MLP.
        logit_scale: `[1]`, s, what the five weights add up to.
        temperature: T.
        dropout: Share of a hidden layer's outputs that a training step leaves out, in [0, 1).
    """

    def __init__(
        self,
        layers: Sequence[nn.Linear],
        *,
        logit_scale: float = 1.0,
        temperature: float = TEMPERATURE,
        dropout: float = DROPOUT,
    ) -> None:
        """Takes the layers as they are; the last one has an output a dimension."""
        super().__init__()
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout is {dropout}; expected a share in [0, 1)")
        self.layers = nn.ModuleList(layers)
        self.logit_scale = nn.Parameter(torch.tensor([logit_scale], dtype=torch.float32))
        self.temperature = temperature
        self.dropout = dropout

    def forward(self, prompt_hidden: Tensor) -> Tensor:
        """`[n, 5]`, the weights of the dimensions at p, `[n, H]`."""
        value = prompt_hidden
        last = len(self.layers) - 1
        for i, layer in enumerate(self.layers):
            value = layer(value)
            if i < last:
                value = functional.dropout(torch.relu(value), self.dropout, self.training)
        return torch.softmax(value / self.temperature, dim=-1) * self.logit_scale


class HeadsModule(nn.Module):
    """The heads of a reward model in float32: dims r = W h, weights g, total g . r.

    Evaluation mode is what `heads.onnx` computes; in training mode the gate has dropout.

    Attributes:
        regression: W, a linear layer without a bias.
        gating: The gate; None where the total is the plain sum.
        label_scales: What the labels were multiplied by, in the order of `DIMENSIONS`.
        is_random: Whether the weights were drawn, not trained.
        lexical_prior: Of `Heads`; what the module computes is without it.
    """

    def __init__(self, heads: Heads, *, dropout: float = DROPOUT) -> None:
        """Copies the weights of `heads`; the module is in evaluation mode.

        Args:
            heads: The weights.
            dropout: Of the gate, in training mode alone; in [0, 1).

        Raises:
            ModelError: The weights do not fit one another.
            ValueError: `dropout` is out of its range.
        """
        super().__init__()
        heads.check(heads.hidden_size, "the heads")
        self.regression = _linear(heads.regression)
        self.gating: Gate | None = None
        if heads.layers:
            self.gating = Gate(
                [_linear(weight, bias) for weight, bias in heads.layers],
                logit_scale=heads.logit_scale,
                temperature=heads.temperature,
                dropout=dropout,
            )
        self.label_scales = heads.label_scales
        self.is_random = heads.is_random
        self.lexical_prior = heads.lexical_prior
        self.eval()

    @classmethod
    def with_new_gate(
        cls,
        heads: Heads,
        *,
        seed: int,
        widths: Sequence[int] = GATE_WIDTHS,
        logit_scale: float = 1.0,
        temperature: float = TEMPERATURE,
        dropout: float = DROPOUT,
    ) -> Self:
        """`heads` with W as it is and a gate as torch draws linear layers.

        Args:
            heads: W and the label scales; its gate is not read.
            seed: Of the draw; torch's own generator is left as it was.
            widths: Of the gate's hidden layers.
            logit_scale: s, the sum of the weights.
            temperature: T.
            dropout: As the constructor takes it.

        Raises:
            ModelError: As the constructor.
            ValueError: As the constructor, or a width is less than 1.
        """
        if any(width < 1 for width in widths):
            raise ValueError(f"the gate's widths are {list(widths)}; expected each at least 1")
        module = cls(replace(heads, layers=(), logit_scale=1.0, is_random=False), dropout=dropout)
        sizes = [heads.hidden_size, *widths, len(DIMENSIONS)]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layers = [nn.Linear(inputs, outputs) for inputs, outputs in pairwise(sizes)]
        gate = Gate(layers, logit_scale=logit_scale, temperature=temperature, dropout=dropout)
        module.gating = gate.eval()
        return module

    def forward(self, hidden: Tensor, prompt_hidden: Tensor) -> Judged:
        """What the heads make of h and p, `[n, H]` each; row i of both is of one step."""
        dims = self.regression(hidden)
        weights = torch.ones_like(dims) if self.gating is None else self.gating(prompt_hidden)
        return Judged(dims, weights, (weights * dims).sum(-1))

    def scores(self, hidden: _Floats, prompt_hidden: _Floats) -> Scores:
        """As `RewardModel.judge`, whatever the mode: no dropout, and no gradients are kept.

        Args:
            hidden: `[n, H]` float32, h of each step.
            prompt_hidden: `[n, H]` float32, p of each step.
        """
        device = self.regression.weight.device
        was_training = self.training
        self.eval()
        with torch.no_grad():
            judged = self(*(torch.tensor(x, device=device) for x in (hidden, prompt_hidden)))
        self.train(was_training)
        dims, weights, total = (tensor.cpu().numpy() for tensor in judged)
        return Scores(total, dims, weights)

    def to_heads(self) -> Heads:
        """The weights, as copies: what the constructor makes the same module from."""
        tensors = {name: tensor.detach().cpu().numpy().copy() for name, tensor in self._tensors()}
        return heads_of(
            tensors,
            "the module",
            temperature=TEMPERATURE if self.gating is None else self.gating.temperature,
            label_scales=self.label_scales,
            is_random=self.is_random,
            lexical_prior=self.lexical_prior,
        )

    def _tensors(self) -> list[tuple[str, Tensor]]:
        return [(name, parameter.float()) for name, parameter in self.named_parameters()]


def _linear(weight: _Floats, bias: _Floats | None = None) -> nn.Linear:
    outputs, inputs = weight.shape
    # Nothing is drawn on the meta device, so that torch's own generator stays as it was.
    layer = nn.Linear(inputs, outputs, bias=bias is not None, device="meta")
    layer.weight = nn.Parameter(torch.tensor(weight, dtype=torch.float32))
    if bias is not None:
        layer.bias = nn.Parameter(torch.tensor(bias, dtype=torch.float32))
    return layer
