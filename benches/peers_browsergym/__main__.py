"""Labels an hour of the same MCTS-P loop: our environment beside BrowserGym's, in one run.

Both collect the same tasks with `collect_episode`, the same settings, scorer and proposer, in turn,
one process and one episode at a time. A page draws its contents from the seed that BrowserGym
makes of its own, and ours is given that one, so both play the same page; the run stops where the
instructions differ. Ours plays each episode before and after BrowserGym's, and both count, since
the machine may be shared. BrowserGym is left as it is installed.

    python benches/peers_browsergym --peer-python .venv-browsergym/bin/python --json figures.json
"""

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from measure import measure
from similar_fast.envs.miniwob import MiniWob

FIRST_SEED = 1000
SUMMED = ("labels", "seconds", "reset_s", "step_s", "resets", "env_steps", "diverged")


class Peer:
    """The process in which BrowserGym runs."""

    def __init__(self, python: Path, settings: dict[str, Any]) -> None:
        package = importlib.util.find_spec("miniwob")
        assert package is not None
        assert package.origin is not None
        pages = (Path(package.origin).parent / "html" / "miniwob").as_uri() + "/"
        chromium = shutil.which(os.environ.get("SIMILAR_FAST_CHROMIUM", "chromium")) or ""
        script = Path(__file__).parent / "peer.py"
        self._process = subprocess.Popen(  # noqa: S603  # our own script
            [python, script, pages, chromium, json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.versions = self._read()

    def measure(self, task: str, seed: int) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([task, seed]) + "\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        self._process.communicate()

    def _read(self) -> Any:  # noqa: ANN401  # JSON
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"BrowserGym's process ended with {self._process.wait()}")
        return json.loads(line)


def page_seed(seed: int) -> int:
    """What BrowserGym 0.14 seeds a MiniWoB++ page with for an environment's seed."""
    return int(np.random.RandomState(seed).randint(0, 1_000_000))


def run(options: argparse.Namespace) -> dict[str, Any]:
    settings = {
        "num_simulations": options.simulations,
        "width": options.width,
        "rollouts": options.rollouts,
        "budget": options.budget,
    }
    peer = Peer(options.peer_python, settings)
    sides: dict[str, list[dict[str, Any]]] = {"ours": [], "browsergym": []}
    with MiniWob() as env:
        env.reset(options.tasks[0], seed=0)  # starts the browser; BrowserGym starts one a reset
        for task in options.tasks:
            for seed in range(FIRST_SEED, FIRST_SEED + options.episodes):
                before = measure(env, task, seed=page_seed(seed), settings=settings)
                theirs = peer.measure(task, seed)
                after = measure(env, task, seed=page_seed(seed), settings=settings)
                assert before["labels"] == after["labels"]
                same = before["instruction"] == theirs["instruction"]
                assert same, f"{before['instruction']!r}, BrowserGym {theirs['instruction']!r}"
                sides["ours"] += [before, after]
                sides["browsergym"].append(theirs)
                told = " ".join(f"{rate(row):.0f}" for row in (before, theirs, after))
                print(f"{task} {seed}: {told} labels/h, BrowserGym between ours", flush=True)
        versions = {"ours": env.versions, "browsergym": peer.versions}
    peer.close()
    return {"settings": settings, "versions": versions, "episodes": sides}


def rate(figures: dict[str, Any]) -> float:
    """Labels an hour."""
    return float(3600 * figures["labels"] / figures["seconds"])


def table(sides: dict[str, list[dict[str, Any]]], tasks: list[str]) -> str:
    """One line a task and side, and the ratio of the labels an hour."""
    names = ("task", "environment", "labels", "seconds", "labels/h", "ratio")
    names += ("resets, steps a label", "ms a reset, a step", "diverged")
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    for task in [*tasks, "both"]:
        sums = {side: _sums(rows, task) for side, rows in sides.items()}
        for side, row in sums.items():
            labels, resets, steps = (row[name] for name in ("labels", "resets", "env_steps"))
            lines.append(
                f"| {task} | {side} | {labels} | {row['seconds']:.1f} | {rate(row):.0f} "
                f"| {rate(row) / rate(sums['browsergym']):.1f} "
                f"| {resets / labels:.2f}, {steps / labels:.2f} "
                f"| {1e3 * row['reset_s'] / resets:.0f}, {1e3 * row['step_s'] / steps:.0f} "
                f"| {row['diverged']} |"
            )
    return "\n".join(lines)


def _sums(rows: list[dict[str, Any]], task: str) -> dict[str, Any]:
    chosen = [row for row in rows if task in ("both", row["task"])]
    return {name: sum(row[name] for row in chosen) for name in SUMMED}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer-python", type=Path, required=True, help="where BrowserGym is")
    parser.add_argument("--tasks", nargs="+", default=["login-user", "click-checkboxes"])
    parser.add_argument("--episodes", type=int, default=2, help="episodes of each task")
    parser.add_argument("--simulations", type=int, default=24)
    parser.add_argument("--width", type=int, default=6)
    parser.add_argument("--rollouts", type=int, default=4)
    parser.add_argument("--budget", type=int, default=100, help="steps of an episode, at most")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    figures = run(options)
    print(f"\n{figures['versions']}, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    print(table(figures["episodes"], options.tasks))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
