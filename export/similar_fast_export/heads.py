"""The graph of a reward model's heads, made from their weights.

Source: `similar_fast.models.heads`.
"""

import shutil
from pathlib import Path

from similar_fast.dimensions import DIMENSIONS
from similar_fast.models.heads import (
    HEADS_NAME,
    HEADS_WEIGHTS_NAME,
    Heads,
    encode_heads,
    read_heads,
)
from similar_fast.models.manifest import HeadsSpec

from similar_fast_export.graph import FLOAT, INT64, Graph
from similar_fast_export.weight import Weight

__all__ = ["build_heads"]


def build_heads(
    heads: Path | Heads, folder: Path, hidden_size: int, *, is_random: bool = False
) -> HeadsSpec:
    """Writes `heads.onnx` and `heads.safetensors` into `folder`.

    The graph: hidden `[K, H]` and prompt_hidden `[G, H]` float32, group `[K]` int64 -> dims
    `[K, 5]`, weights `[K, 5]` and score `[K]` float32. A row's result depends on its neighbours by
    rounding at most.

    Args:
        heads: A file as `read_heads` takes it, which is copied, or the weights.
        folder: The model's folder.
        hidden_size: Width of the decoder's states.
        is_random: Whether they were drawn; also where they say so themselves.

    Raises:
        ModelError: The file cannot be read, or the weights do not fit; files may be left in
            `folder`.
    """
    weights = read_heads(heads) if isinstance(heads, Path) else heads
    weights.check(hidden_size, "the heads" if isinstance(heads, Heads) else str(heads))
    _graph(weights, hidden_size).save(folder / HEADS_NAME)
    if isinstance(heads, Path):
        shutil.copyfile(heads, folder / HEADS_WEIGHTS_NAME)
    else:
        (folder / HEADS_WEIGHTS_NAME).write_bytes(encode_heads(heads))
    return HeadsSpec(
        is_gated=bool(weights.layers),
        label_scales=weights.label_scales,
        is_random=is_random or weights.is_random,
        lexical_prior=weights.lexical_prior,
    )


def _graph(heads: Heads, hidden_size: int) -> Graph:
    graph = Graph("heads")
    width = len(DIMENSIONS)
    hidden = graph.input("hidden", FLOAT, ["K", hidden_size])
    prompt = graph.input("prompt_hidden", FLOAT, ["G", hidden_size])
    group = graph.input("group", INT64, ["K"])
    regression = graph.weight("regression.weight", Weight.of(heads.regression.T))
    dims = graph.node("MatMul", hidden, regression)
    if heads.layers:
        weights = graph.node("Gather", _gate(graph, prompt, heads), group)
    else:
        weights = graph.node("Expand", graph.number(1.0), graph.node("Shape", dims))
    product = graph.node("Mul", dims, weights)
    score = graph.node("ReduceSum", product, graph.ints(1), keepdims=0)
    graph.output("dims", dims, type_=FLOAT, shape=["K", width])
    graph.output("weights", weights, type_=FLOAT, shape=["K", width])
    graph.output("score", score, type_=FLOAT, shape=["K"])
    return graph


def _gate(graph: Graph, value: str, heads: Heads) -> str:
    """`[G, 5]`, the weights of each state."""
    for i, (weight, bias) in enumerate(heads.layers):
        name = f"gating.layers.{i}"
        value = value if i == 0 else graph.node("Relu", value)
        value = graph.node("MatMul", value, graph.weight(f"{name}.weight", Weight.of(weight.T)))
        value = graph.node("Add", value, graph.weight(f"{name}.bias", Weight.of(bias)))
    value = graph.node("Div", value, graph.number(heads.temperature))
    value = graph.node("Softmax", value, axis=-1)
    return graph.node("Mul", value, graph.number(heads.logit_scale))
