"""How fast a reward model is where it is used: a state of 10 candidates, and a whole demo episode.

A state is a screen of the recorded tasks with 10 of its candidates. Cold: the model sees it for the
first time, so the state and the candidates run. Warm: its keys and values are kept, so only the
candidates run. Both on two cores and two threads. The episode is one search of `similar-fast demo`
with this model in its place, on one thread; its CPU time counts every thread of the process.
Opening the model is told apart.

    PYTHONPATH=export:tests python benches/bench_mini.py [FOLDER] [--rounds 5] [--json F]

Without FOLDER the weights are random and of MiniLM's size; only that needs PYTHONPATH and torch.
"""

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from similar_fast import Step
from similar_fast.envs.recorded import Recorded
from similar_fast.reward.model import RewardModel
from similar_fast.scoring import candidate_steps
from similar_fast.search.search import Search

if TYPE_CHECKING:
    from similar_fast.types import Action

NUM_CANDIDATES = 10
NUM_CORES = 2
WALKS, WALK_STEPS = 4, 3
TOLERANCE = 1e-4  # int8 weights: a warm run has another shape than a cold one


@dataclass(frozen=True)
class Spread:
    """The times of one kind, in ms.

    Attributes:
        median: Half of them are above.
        low: A tenth of them are below.
        high: A tenth of them are above.
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Spread":
        low, high = np.quantile(seconds, (0.1, 0.9))
        return cls(1e3 * statistics.median(seconds), 1e3 * float(low), 1e3 * float(high))

    def __str__(self) -> str:
        return f"{self.median:7.1f} [{self.low:.1f}, {self.high:.1f}]"


def states(env: Recorded, *, max_states: int) -> list[list[Step]]:
    """Screens on seeded walks with at least 10 candidates, 10 of each; no state twice."""
    found: dict[tuple[str, ...], list[Step]] = {}
    for walk in range(WALKS):
        for task, seeds in env.tasks().items():
            for seed in seeds:
                rng = random.Random(f"{walk}:{task}:{seed}")  # noqa: S311  # a walk, no secret
                for steps in _walk(env, task, seed=seed, rng=rng):
                    found.setdefault((steps[0].observation, *steps[0].history), steps)
    return list(found.values())[:max_states]


def _walk(env: Recorded, task: str, *, seed: int, rng: random.Random) -> Iterator[list[Step]]:
    observation = env.reset(task, seed=seed)
    history: list[Action] = []
    while candidates := list(env.candidates()):
        if len(candidates) >= NUM_CANDIDATES:
            yield candidate_steps(observation, candidates[:NUM_CANDIDATES], history)
        history.append(rng.choice(candidates))
        result = env.step(history[-1])
        if result.is_done or result.error or len(history) == WALK_STEPS:
            return
        observation = result.observation


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def _score(model: RewardModel, steps: list[Step], found: list[Any]) -> None:
    found.append(model.score(steps).total)


def score_states(folder: Path, screens: Sequence[list[Step]], *, rounds: int) -> dict[str, Spread]:
    """Wall and CPU of a state, cold and warm; each round opens the model anew."""
    times: dict[str, list[float]] = {
        f"{kind} {clock}": [] for kind in ("cold", "warm") for clock in ("wall", "cpu")
    }
    for _ in range(rounds):
        model = RewardModel(folder, providers="cpu", threads=NUM_CORES)
        model.score([Step("warm up", (), "click")])
        totals: dict[str, list[Any]] = {"cold": [], "warm": []}
        for kind, found in totals.items():
            for steps in screens:
                wall, cpu = timed(partial(_score, model, steps, found))
                times[f"{kind} wall"].append(wall)
                times[f"{kind} cpu"].append(cpu)
        assert np.isfinite(totals["cold"]).all()
        assert np.abs(np.array(totals["cold"]) - np.array(totals["warm"])).max() < TOLERANCE
    return {name: Spread.of(seconds) for name, seconds in times.items()}


def demo_episodes(folder: Path, env: Recorded, *, max_episodes: int | None = None) -> Any:  # noqa: ANN401  # JSON
    """CPU seconds of the demo's searches, the model opened anew for each, and of opening it."""
    pairs = [(task, seed) for task, seeds in env.tasks().items() for seed in seeds]
    opened, searched, solved = [], [], 0
    for task, seed in pairs[:max_episodes]:
        started = time.process_time()
        model = RewardModel(folder, providers="cpu", threads=1)
        opened.append(time.process_time() - started)
        search = Search(model, num_simulations=64, budget=128, seed=0)
        started = time.process_time()
        result = search.run(env, task, seed=seed)
        searched.append(time.process_time() - started)
        solved += result.success
        assert 0 < result.env_steps <= 128
    return {
        "episodes": len(searched),
        "solved": solved,
        "open_cpu_s": statistics.median(opened),
        "search_cpu_s": statistics.median(searched),
        "search_cpu_s_max": max(searched),
        "whole_cpu_s_max": max(a + b for a, b in zip(opened, searched, strict=True)),
    }


def run(
    folder: Path, *, rounds: int, max_states: int = 30, max_episodes: int | None = None
) -> dict[str, Any]:
    """Every figure."""
    env = Recorded.builtin()
    screens = states(env, max_states=max_states)
    return {
        "states": len(screens),
        "candidates": NUM_CANDIDATES,
        "ms": {n: asdict(s) for n, s in score_states(folder, screens, rounds=rounds).items()},
        "demo": demo_episodes(folder, env, max_episodes=max_episodes),
    }


@contextmanager
def model_folder(folder: Path | None) -> Iterator[tuple[Path, str]]:
    """The model and what to call it; one with random weights where none is given."""
    if folder is not None:
        yield folder, str(folder)
        return
    from reward_models import export_random  # noqa: PLC0415  # needs torch

    with tempfile.TemporaryDirectory() as scratch:
        yield export_random(Path(scratch), "bert-384x6"), "random weights of MiniLM's size"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="a reward model")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:NUM_CORES])
    with model_folder(options.folder) as (folder, name):
        figures = run(folder, rounds=options.rounds)
    load = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    print(f"{name}; {figures['states']} states of {NUM_CANDIDATES} candidates, {load}")
    for kind, spread in figures["ms"].items():
        print(f"  {kind:10} {Spread(**spread)} ms")
    demo = figures["demo"]
    print(
        f"demo: {demo['solved']} of {demo['episodes']} episodes solved; CPU s: a search "
        f"{demo['search_cpu_s']:.2f} in the median, {demo['search_cpu_s_max']:.2f} the longest, "
        f"{demo['open_cpu_s']:.2f} to open the model, {demo['whole_cpu_s_max']:.2f} both at most"
    )
    if options.json:
        options.json.write_text(json.dumps({"model": name, **figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
