"""What `bench_cuda` compares and prints, from the records of both engines."""

import platform
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import numpy as np
from gpu.cuda_run import Plan, nvidia_smi, spread
from similar_fast.types import Scores
from similar_fast_export.verify import pair_agreement

__all__ = ["compared", "table"]

MIN_AGREEMENT = 0.98
MAX_ERROR = {"float32": 1e-3, "float16": float("inf")}
GOALS = {"cold": 2.0, "warm": 10.0}
PACKAGES = ("onnxruntime-gpu", "torch", "transformers")

Record = dict[str, Any]


def compared(plan: Plan, ours: Record, peer: Record) -> Record:
    """Both records, what differs between their scores, and how much faster ours is."""
    parity = {
        **parity_of(ours["scores"], peer["scores"]),
        "peer_cache_rank_agreement": parity_of(peer["cached_scores"], peer["scores"])[
            "rank_agreement"
        ],
    }
    medians = {
        name: {what: statistics.median(values) for what, values in record["ms"].items()}
        for name, record in (("ours", ours), ("peer", peer))
    }
    speedups = {
        f"{what}_over_{name}": medians["peer"][against] / medians["ours"][what]
        for what, name, against in (
            ("cold", "whole", "whole"),
            ("warm", "whole", "whole"),
            ("cold", "cache", "cold"),
            ("warm", "cache", "warm"),
        )
    }
    is_exact = parity["max_error_total"] <= MAX_ERROR[plan.dtype]
    without = {"scores", "cached_scores"}
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "card": card(plan.device),
        "versions": {name: metadata.version(name) for name in PACKAGES},
        "device": plan.device,
        "dtype": plan.dtype,
        "parity": parity,
        "is_alike": is_exact and parity["rank_agreement"] >= MIN_AGREEMENT,
        "speedups": speedups,
        "ours": {name: value for name, value in ours.items() if name not in without},
        "transformers": {name: value for name, value in peer.items() if name not in without},
    }


def parity_of(ours: Sequence[Record], theirs: Sequence[Record]) -> dict[str, float]:
    """The largest differences, and the share of pairs within a state that both order alike."""
    left, right = ([scores_of(record) for record in records] for records in (ours, theirs))
    errors = {
        f"max_error_{name}": max(
            float(np.abs(getattr(a, name) - getattr(b, name)).max())
            for a, b in zip(left, right, strict=True)
        )
        for name in ("dims", "weights", "total")
    }
    spreads = [float(np.ptp(one.total)) for one in right]
    return {
        **errors,
        "rank_agreement": pair_agreement(right, left),
        "median_range_of_totals": statistics.median(spreads),
    }


def scores_of(record: Record) -> Scores:
    parts = (np.array(record[name], np.float32) for name in ("total", "dims", "weights"))
    return Scores(*parts)


def card(device: str) -> str:
    if device == "cpu":
        return f"CPU, {platform.machine()}"
    rows = nvidia_smi("--query-gpu=name,driver_version")
    return rows[0] if rows else "unknown"


def table(record: Record) -> str:
    """Markdown for benches/RESULTS.md."""
    ours, peer, speedups = record["ours"], record["transformers"], record["speedups"]
    versions = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    mine, theirs = ours["ms"], peer["ms"]
    rate, rates = ours["states_per_second"]["cold"], peer["states_per_second"]
    columns = [
        ("what", "ours", "transformers, whole", "its cache", "over whole", "over its cache"),
        ("---",) * 6,
        (
            "new state, ms",
            *map(spread, (mine["cold"], theirs["whole"], theirs["cold"])),
            goal(speedups, "cold"),
            times(speedups["cold_over_cache"]),
        ),
        (
            "known state, ms",
            *map(spread, (mine["warm"], theirs["whole"], theirs["warm"])),
            goal(speedups, "warm"),
            times(speedups["warm_over_cache"]),
        ),
        (
            "new states a second",
            *(f"{value:.2f}" for value in (rate, rates["whole"], rates["cold"])),
            times(rate / rates["whole"]),
            times(rate / rates["cold"]),
        ),
        ("device memory, MiB", memory(ours), memory(peer), "the same process", "", ""),
    ]
    made = (
        f"{record['date']}, {record['card']}, {record['size']} in {record['dtype']}, {versions}. "
        f"`{record['command']}`"
    )
    work = (
        f"{peer['tokens']} tokens a prompt, {peer['action_tokens']} of them an action's, 16 "
        f"actions a state. Milliseconds: median and quartiles of {len(mine['cold'])} states. The "
        f"peer's times hold {spread(theirs['prompts'])} ms for prompts and pixels, ours hold them "
        "too; the peer's cache has them ready for a known state."
    )
    lines = [
        made,
        "",
        work,
        "",
        *(f"| {' | '.join(row)} |" for row in columns),
        "",
        parity_in_words(record["parity"]),
    ]
    return "\n".join(lines)


def parity_in_words(parity: dict[str, float]) -> str:
    errors = ", ".join(
        f"{name} {parity[f'max_error_{name}']:.2g}" for name in ("dims", "weights", "total")
    )
    return (
        f"Parity with whole prompts: max error of {errors}, where a state's totals range over "
        f"{parity['median_range_of_totals']:.2g}; pairs ordered alike "
        f"{parity['rank_agreement']:.4f} (transformers with its cache "
        f"{parity['peer_cache_rank_agreement']:.4f})."
    )


def times(ratio: float) -> str:
    return f"{ratio:.1f}x"


def goal(speedups: dict[str, float], what: str) -> str:
    found, wanted = speedups[f"{what}_over_whole"], GOALS[what]
    return f"{found:.1f}x (goal {wanted:.0f}x {'met' if found >= wanted else 'missed'})"


def memory(record: Record) -> str:
    return "not told" if record["memory_mib"] is None else f"{record['memory_mib']:.0f}"
