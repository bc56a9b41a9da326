"""One engine's half of `bench_cuda`: states made from a seed, scored, timed and weighed."""

import io
import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from similar_fast.models.manifest import read_manifest
from similar_fast.reward.model import RewardModel
from similar_fast.types import Scores, Step

__all__ = ["ENGINES", "Plan", "nvidia_smi", "run_engine"]

ENGINES = ("ours", "transformers")
CANDIDATES = 16
CPU_THREADS = 1  # of either engine: tiny products on few cores wait for each other's threads
CACHES = {"state_cache_bytes": 4 * 2**30, "picture_cache_bytes": 2**30}
TEXT = (
    "click button 'Log in' Step type \"Anna's\" into textbox select Book a flight from Oslo to "
    "Rome helpfulness coherence action December Today Date system user assistant"
)
WORDS = TEXT.split()


@dataclass(frozen=True, slots=True)
class Plan:
    """What both engines do; `width` and `height` are the screenshot's, in pixels."""

    checkpoint: str
    folder: str
    dtype: str
    device: str
    rounds: int
    threads: int
    width: int
    height: int

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def of_json(cls, text: str) -> "Plan":
        return cls(**json.loads(text))


def states_of(plan: Plan, *, seed: int, count: int) -> list[list[Step]]:
    """`count` states whose screens, texts and actions all differ."""
    rng = np.random.default_rng(seed)

    def words(count: int) -> str:
        return " ".join(rng.choice(WORDS, count))

    states = []
    for _ in range(count):
        shot = partial(bytes, png(plan.width, plan.height, int(rng.integers(2**31))))
        instruction, history = words(12), (words(6), words(6), words(6))
        observation = words(40)
        states.append(
            [Step(instruction, history, words(8), observation, shot) for _ in range(CANDIDATES)]
        )
    return states


def png(width: int, height: int, seed: int) -> bytes:
    """A page of flat boxes, as screens are; noise would make the PNG far larger than a screen's."""
    rng = np.random.default_rng(seed)
    pixels = np.full((height, width, 3), rng.integers(180, 256, 3), np.uint8)
    for _ in range(60):
        x, y = int(rng.integers(width)), int(rng.integers(height))
        w, h = int(rng.integers(8, width // 3)), int(rng.integers(8, height // 6))
        pixels[y : y + h, x : x + w] = rng.integers(0, 256, 3)
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def run_engine(engine: str, plan: Plan) -> dict[str, Any]:
    """Scores by state, milliseconds by what was timed, states a second, memory."""
    before = card_memory_mib()
    found = (_ours if engine == "ours" else _transformers)(plan)
    return {**found, "memory_mib": None if plan.device == "cpu" else held_memory_mib(before)}


def _ours(plan: Plan) -> dict[str, Any]:
    model = RewardModel(
        plan.folder, providers=plan.device, threads=CPU_THREADS, verify=False, **CACHES
    )
    states = states_of(plan, seed=0, count=plan.rounds)
    for _ in range(2):
        model.score(states_of(plan, seed=1, count=1)[0])
        model.clear_caches()
    cold, warm, scores = [], [], []
    for steps in states:
        cold.append(timed(partial(model.score, steps), scores))
        warm.append(timed(partial(model.score, steps), []))
    many = states_of(plan, seed=2, count=plan.rounds)
    start = time.perf_counter()
    with ThreadPoolExecutor(plan.threads) as threads:
        list(threads.map(model.score, many))
    rate = len(many) / (time.perf_counter() - start)
    return {
        "scores": [rows_of(one) for one in scores],
        "ms": {"cold": cold, "warm": warm},
        "states_per_second": {"cold": rate},
        "providers": model.providers,
    }


def _transformers(plan: Plan) -> dict[str, Any]:
    import torch  # noqa: PLC0415  # our engine's process goes without
    from gpu.peer import Peer  # noqa: PLC0415  # as above

    torch.set_num_threads(CPU_THREADS)
    manifest = read_manifest(plan.folder, verify=False)
    peer = Peer(Path(plan.checkpoint), manifest, dtype=plan.dtype, device=plan.device)
    judge = RewardModel(plan.folder, providers="cpu", verify=False).judge

    def whole(steps: Sequence[Step]) -> Scores:
        return judge(*peer.whole(peer.prompts(steps)))

    def cached(steps: Sequence[Step]) -> Scores:
        prompts = peer.prompts(steps)
        return judge(*peer.continued(peer.prefix(prompts), prompts))

    states = states_of(plan, seed=0, count=plan.rounds)
    for run in (whole, cached, cached):
        run(states_of(plan, seed=1, count=1)[0])
    ms: dict[str, list[float]] = {name: [] for name in ("prompts", "whole", "cold", "warm")}
    scores: dict[str, list[Scores]] = {"whole": [], "cold": [], "warm": []}
    for steps in states:
        ms["prompts"].append(timed(partial(peer.prompts, steps), []))
        ms["whole"].append(timed(partial(whole, steps), scores["whole"]))
        ms["cold"].append(timed(partial(cached, steps), scores["cold"]))
        prompts = peer.prompts(steps)
        kept = peer.prefix(prompts)
        again = partial(peer.continued, kept, prompts)
        ms["warm"].append(timed(lambda again=again: judge(*again()), scores["warm"]))
        if peer.device.type == "cuda":
            torch.cuda.synchronize(peer.device)
    many = states_of(plan, seed=2, count=plan.rounds)
    return {
        "scores": [rows_of(one) for one in scores["whole"]],
        "cached_scores": [rows_of(one) for one in scores["cold"]],
        "ms": ms,
        "states_per_second": {
            name: rate_of(run, many) for name, run in (("whole", whole), ("cold", cached))
        },
        "tokens": len(prompts[0].ids),
        "action_tokens": len(prompts[0].ids) - kept.length,
        "attention": peer.model.config._attn_implementation,  # noqa: SLF001  # told nowhere else
    }


def timed(run: Callable[[], Any], results: list[Any]) -> float:
    """Milliseconds of one call, which ends on the host; its result goes to `results`."""
    start = time.perf_counter()
    result = run()
    taken = time.perf_counter() - start
    results.append(result)
    return 1e3 * taken


def rate_of(run: Callable[[Sequence[Step]], Any], states: list[list[Step]]) -> float:
    """States a second, one after another: torch's kernels fill the device from one thread."""
    start = time.perf_counter()
    for steps in states:
        run(steps)
    return len(states) / (time.perf_counter() - start)


def rows_of(scores: Scores) -> dict[str, list[Any]]:
    return {name: getattr(scores, name).tolist() for name in ("total", "dims", "weights")}


def held_memory_mib(before: float | None) -> float | None:
    """What this process holds on its card, its engine's pool included.

    Where the driver hides processes, as in a container, what the first card holds beyond `before`.
    """
    for row in nvidia_smi("--query-compute-apps=pid,used_memory") or ():
        pid, _, used = row.partition(",")
        if pid.strip() == str(os.getpid()) and used.strip().isdigit():
            return float(used)
    after = card_memory_mib()
    return None if after is None or before is None else after - before


def card_memory_mib() -> float | None:
    """What the first card holds for all processes."""
    rows = nvidia_smi("--query-gpu=memory.used")
    return float(rows[0]) if rows and rows[0].strip().isdigit() else None


def nvidia_smi(query: str) -> list[str] | None:
    """The rows that the tool answers, in MiB and without a header; None where there is none."""
    command = ["nvidia-smi", query, "--format=csv,noheader,nounits"]
    try:
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return None
    return out.splitlines()


def spread(values: Sequence[float]) -> str:
    """Median, and the quartiles around it."""
    low, _, high = statistics.quantiles(values, n=4)
    return f"{statistics.median(values):.1f} ({low:.1f}-{high:.1f})"
