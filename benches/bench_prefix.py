"""Candidates of one state: shared prefix against whole prompts, ours and those of transformers.

    python benches/bench_prefix.py [--json] [--repeats 5] [--case 1024,16,16]

N suffixes of s random tokens follow one prefix of P. Arms, interleaved in one process:

- ours cold and warm: `StateRunner`, packing and masks included, without and with the prefix known;
- naive ONNX Runtime: the same decoder graph on N whole rows, in runs of `--naive-rows` rows;
- transformers naive: `Qwen2Model` on N whole rows, SDPA, in batches of as many;
- transformers with its own KV cache: the prefix once, the cache repeated for N, the suffixes as a
  batch.

The model is random (hidden 512, 8 layers, 8 heads over 2, MLP 2,816, float32): it shows speed and
equal answers, no quality. All arms' states must agree within 1e-3 (they are of size 4).
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from similar_fast.models.heads import random_heads
from similar_fast.models.manifest import Manifest, PromptSpec, RewardSpec, describe_file
from similar_fast.reward.backbone import Backbone
from similar_fast.reward.state_cache import PromptTokens, StateCache
from similar_fast.reward.states import StateRunner
from similar_fast_export.checkpoint import Checkpoint
from similar_fast_export.decoder import build_decoder
from similar_fast_export.heads import build_heads

CASES = (
    (256, 16, 4),
    (256, 32, 4),
    (256, 16, 16),
    (256, 32, 16),
    (1024, 16, 4),
    (1024, 32, 4),
    (1024, 16, 16),
    (1024, 32, 16),
)
VOCABULARY = 4096
SIZES = {
    "hidden_size": 512,
    "intermediate_size": 2816,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
}
TOLERANCE = 1e-3
ARMS = ("ours cold", "ours warm", "naive ORT", "transformers", "transformers + KV cache")

Arm = Callable[[], np.ndarray]


@dataclass(frozen=True)
class Models:
    """One set of weights, twice.

    Attributes:
        backbone: Ours.
        theirs: transformers' model.
    """

    backbone: Backbone
    theirs: Any


@dataclass(frozen=True)
class Limits:
    """How our arms run; the defaults are those of `RewardModel` on the CPU."""

    row_tokens: int = 256
    prefix_tokens: int = 256
    deterministic: bool = False


DEFAULTS = Limits()


def make_models(sizes: dict[str, int], threads: int) -> Models:
    """Draws the weights, exports them and opens both."""
    import torch  # noqa: PLC0415  # after the threads are set
    from transformers import Qwen2Config, Qwen2Model  # noqa: PLC0415  # as above

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    rope = {"rope_type": "default", "rope_theta": 1e6}
    config = Qwen2Config(
        **sizes, vocab_size=VOCABULARY, max_position_embeddings=8192, rope_parameters=rope
    )
    config._attn_implementation = "sdpa"  # noqa: SLF001  # its own name for it
    model = Qwen2Model(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1:
                weight.mul_(2)
            elif name.endswith("bias"):
                weight.normal_(0, 0.1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model.save_pretrained(folder)
        decoder = build_decoder(Checkpoint(folder), folder, "fp32")
        width = sizes["hidden_size"]
        heads = build_heads(random_heads(width, 0), folder, width, is_random=True)
        spec = RewardSpec(decoder, PromptSpec("screen-first", (), ()), heads)
        (folder / "tokenizer.json").write_text("{}")  # token ids come from the bench
        files = tuple(describe_file(path) for path in sorted(folder.iterdir()))
        manifest = Manifest(
            "qwen2", width, 8192, "float32", "none", "random", files=files, reward=spec
        )
        return Models(Backbone(folder, manifest, providers="cpu", threads=threads), model)


def arms(
    models: Models, case: tuple[int, int, int], naive_rows: int, limits: Limits = DEFAULTS
) -> dict[str, Arm]:
    """What is timed, by name; each returns `[N, hidden]`."""
    rng = np.random.default_rng(0)
    length, size, count = case
    prefix = rng.integers(3, VOCABULARY, length)
    suffixes = rng.integers(3, VOCABULARY, (count, size))
    known = runner(models, limits)
    run_ours(known, prefix, suffixes)
    return {
        "ours cold": lambda: run_ours(runner(models, limits), prefix, suffixes),
        "ours warm": lambda: run_ours(known, prefix, suffixes),
        "naive ORT": lambda: run_naive(models.backbone, prefix, suffixes, naive_rows),
        "transformers": lambda: run_theirs(models.theirs, prefix, suffixes, naive_rows),
        "transformers + KV cache": lambda: run_theirs_cached(models.theirs, prefix, suffixes),
    }


def runner(models: Models, limits: Limits) -> StateRunner:
    cache = StateCache(1 << 30, shares_beginnings=not limits.deterministic)
    return StateRunner(
        models.backbone,
        cache,
        max_batch_tokens=limits.row_tokens,
        max_prefix_tokens=limits.prefix_tokens,
        deterministic=limits.deterministic,
    )


def run_ours(states: StateRunner, prefix: np.ndarray, suffixes: np.ndarray) -> np.ndarray:
    length = len(prefix)
    tokens = PromptTokens(prefix, np.zeros(length, np.uint64), np.arange(length)[None], length)
    state = states.state(tokens, gate_index=length - 1, picture=lambda *_: {})
    return states.candidates(state, list(suffixes), picture=lambda *_: {})


def whole_rows(prefix: np.ndarray, suffixes: np.ndarray, rows: int) -> list[np.ndarray]:
    whole = np.concatenate([np.tile(prefix, (len(suffixes), 1)), suffixes], axis=1)
    return [whole[i : i + rows] for i in range(0, len(whole), rows)]


def run_naive(
    backbone: Backbone, prefix: np.ndarray, suffixes: np.ndarray, rows: int
) -> np.ndarray:
    """The same graph, nothing shared: rows one under another, causal masks."""
    decoder = backbone._decoder  # noqa: SLF001  # the arm that has no runtime of ours
    found = []
    for ids in whole_rows(prefix, suffixes, rows):
        count, length = ids.shape
        feeds = {
            "input_ids": ids,
            "position_ids": np.tile(np.arange(length), (1, count, 1)),
            "mask": np.tile(np.tri(length, dtype=bool), (count, 1, 1, 1)),
            "score_index": np.arange(1, count + 1) * length - 1,
            **{
                name: np.repeat(past, count, axis=0)
                for name, past in backbone._nothing.items()  # noqa: SLF001  # as above
            },
        }
        found.append(decoder.run_keeping(feeds, fetch=("hidden",), keep=())[0]["hidden"])
    return np.concatenate(found)


def run_theirs(model: Any, prefix: np.ndarray, suffixes: np.ndarray, rows: int) -> np.ndarray:  # noqa: ANN401  # transformers'
    import torch  # noqa: PLC0415  # as above

    with torch.no_grad():
        return np.concatenate(
            [
                model(input_ids=torch.tensor(ids), use_cache=False).last_hidden_state[:, -1].numpy()
                for ids in whole_rows(prefix, suffixes, rows)
            ]
        )


def run_theirs_cached(model: Any, prefix: np.ndarray, suffixes: np.ndarray) -> np.ndarray:  # noqa: ANN401  # transformers'
    import torch  # noqa: PLC0415  # as above

    with torch.no_grad():
        cache = model(input_ids=torch.tensor(prefix[None]), use_cache=True).cache
        cache.batch_repeat_interleave(len(suffixes))
        out = model(input_ids=torch.tensor(suffixes), cache=cache, use_cache=True)
        return out.last_hidden_state[:, -1].numpy()


def measure(
    timed: dict[str, Arm], repeats: int, *, expected: str = "transformers"
) -> dict[str, dict[str, float]]:
    """CPU seconds of each arm, median and spread, after one run that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    answers: dict[str, np.ndarray] = {}
    for repeat in range(repeats + 1):
        for name, arm in timed.items():
            start = time.process_time()
            answers[name] = arm()
            if repeat:
                seconds[name].append(time.process_time() - start)
    for name, answer in answers.items():
        worst = float(np.abs(answer - answers[expected]).max())
        assert worst < TOLERANCE, f"{name} is {worst} from {expected}"
    return {
        name: {
            "median_s": statistics.median(found),
            "min_s": min(found),
            "max_s": max(found),
        }
        for name, found in seconds.items()
    }


def row(case: tuple[int, int, int], found: dict[str, dict[str, float]]) -> str:
    ms = {name: found[name]["median_s"] for name in ARMS}
    cells = [f"{ms[name] * 1e3:.0f}" for name in ARMS]
    for ours in ("ours cold", "ours warm"):
        cells += [f"{ms[other] / ms[ours]:.1f}" for other in ARMS[2:]]
    return f"| {', '.join(map(str, case))} | {' | '.join(cells)} |"


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--naive-rows", type=int, default=4)
    parser.add_argument("--row-tokens", type=int, default=DEFAULTS.row_tokens)
    parser.add_argument("--prefix-tokens", type=int, default=DEFAULTS.prefix_tokens)
    parser.add_argument("--deterministic", action="store_true")
    parser.add_argument("--case", help="P,s,N; all of the eight without")
    return parser.parse_args(words)


def main() -> int:
    args = parse()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    limits = Limits(args.row_tokens, args.prefix_tokens, args.deterministic)
    models = make_models(SIZES, threads=1)
    cases = CASES if args.case is None else [tuple(map(int, args.case.split(",")))]
    if not args.json:
        others = " | ".join(f"{kind} vs {name}" for kind in ("cold", "warm") for name in ARMS[2:])
        print(f"| P, s, N | {' ms | '.join(ARMS)} ms | {others} |")
        print("|" + "---|" * (1 + len(ARMS) + 6))
    for case in cases:
        found = measure(arms(models, case, args.naive_rows, limits), args.repeats)
        if args.json:
            print(json.dumps({"case": case, **found}), flush=True)
        else:
            print(row(case, found), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
