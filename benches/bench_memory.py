"""Memory of this process and of the browser over many episodes, and what is left behind.

    python benches/bench_memory.py --episodes 300 [--json]

Plays lexical-overlap episodes of the 12 train tasks in one `MiniWob`, and reads the proportional
set size (PSS) of this process and of every process it started. Fails if the last third of the
readings lies more than `--tolerance` above the middle third, or if a process or a
temporary folder of the browser is left behind.
"""

import argparse
import json
import statistics
import sys
import tempfile
from itertools import islice, product
from pathlib import Path

import psutil
from similar_fast.baselines import LexicalScorer
from similar_fast.envs.miniwob import TRAIN_TASKS, MiniWob
from similar_fast.search.episodes import ScoredPolicy, play

FIRST_SEED = 2000
MIB = 2**20


def pss_mib(processes: list[psutil.Process]) -> float:
    total = 0
    for process in processes:
        try:
            total += process.memory_full_info().pss
        except psutil.Error:  # it ended in between
            continue
    return total / MIB


def read(episodes: int, every: int) -> list[tuple[int, float, float]]:
    """Plays; returns (episode, MiB of this process, MiB of its children)."""
    me = psutil.Process()
    readings = []
    with MiniWob() as env:
        policy = ScoredPolicy(LexicalScorer())
        pairs = ((task, FIRST_SEED + n) for n, task in product(range(episodes), TRAIN_TASKS))
        for number, (task, seed) in enumerate(islice(pairs, episodes), start=1):
            play(env, policy, arm="memory", task=task, seed=seed)
            if number % every == 0:
                readings.append((number, pss_mib([me]), pss_mib(me.children(recursive=True))))
        assert env.relaunches == 0
    return readings


def growth(values: list[float]) -> float:
    """How much the last third's median lies above the middle third's, as a share."""
    third = len(values) // 3
    return statistics.median(values[2 * third :]) / statistics.median(values[third : 2 * third]) - 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=300)
    parser.add_argument("--every", type=int, default=20)
    parser.add_argument("--tolerance", type=float, default=0.05)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    folders = set(Path(tempfile.gettempdir()).iterdir())
    readings = read(args.episodes, args.every)
    left = [p.name() for p in psutil.Process().children(recursive=True)]
    new = set(Path(tempfile.gettempdir()).iterdir()) - folders
    made = {path.name for path in new if "playwright" in path.name or "chrom" in path.name}
    grown = {
        "process": growth([mine for _, mine, _ in readings]),
        "browser": growth([theirs for _, _, theirs in readings]),
    }
    if args.json:
        print(
            json.dumps(
                {"readings": readings, "growth": grown, "left": left, "folders": sorted(made)},
                indent=2,
            )
        )
    else:
        for number, mine, theirs in readings:
            print(f"episode {number:4d}: process {mine:6.1f} MiB, browser {theirs:6.1f} MiB")
        print(f"growth: process {grown['process']:+.1%}, browser {grown['browser']:+.1%}")
        print(f"left behind: {len(left)} processes, temporary entries {sorted(made) or 'none'}")
    return int(max(grown.values()) > args.tolerance or bool(left or made))


if __name__ == "__main__":
    sys.exit(main())
