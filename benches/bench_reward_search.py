"""Where the time of a search with `RewardModel` goes: the model, the environment, or ourselves.

`Search` on MiniWoB, guided by a small text model with random weights, one thread. Timed are
onnxruntime's own `run`, and every call of the environment; whatever is left of a run's wall time is
our own: prompts, tokens, caches, masks, the tree, and Python between them. Its CPU time is split
once more: the tokenizer, the rest of the scorer, the rest of the search. Each run starts with empty
caches, the texts' tokens included. Medians over tasks and seeds. The recorded environment needs no
browser; `--browser` takes the live one, Chromium from PATH.

    PYTHONPATH=export:tests python benches/bench_reward_search.py [--browser] [--json F]
"""

import argparse
import gc
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import onnxruntime
from reward_models import export_random
from similar_fast.envs.miniwob import MiniWob
from similar_fast.envs.recorded import Recorded
from similar_fast.prompts.template import Template
from similar_fast.protocols import Environment
from similar_fast.reward.model import RewardModel
from similar_fast.scoring import candidate_steps
from similar_fast.search.search import Search
from similar_fast.types import Action, Observation, SearchResult, Step, StepResult

MODELS = ("qwen2-256x4", "bert-384x6")
TASKS = ("choose-list", "click-option", "click-tab-2", "enter-text", "login-user", "search-engine")
SEEDS = (2000, 2001)
NUM_SIMULATIONS = 32
TOLERANCE = 1e-4
GOAL_SHARE, GOAL_OWN_US = 0.9, 50.0


@dataclass
class Clock:
    """Wall and CPU seconds inside of what is wrapped; it may not call itself."""

    wall: float = 0.0
    cpu: float = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            self.cpu += time.thread_time() - cpu
            self.wall += time.perf_counter() - wall

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: object, **kwargs: object) -> object:
            with self.running():
                return call(*args, **kwargs)

        return timed


@dataclass
class TimedEnvironment:
    """An environment whose calls are timed."""

    inner: Environment
    clock: Clock = field(default_factory=Clock)

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def relaunches(self) -> int:
        return self.inner.relaunches

    def reset(self, task: str, *, seed: int) -> Observation:
        with self.clock.running():
            return self.inner.reset(task, seed=seed)

    def candidates(self) -> tuple[Action, ...]:
        with self.clock.running():
            return self.inner.candidates()

    def step(self, action: Action) -> StepResult:
        with self.clock.running():
            return self.inner.step(action)

    def close(self) -> None:
        self.inner.close()


@dataclass(frozen=True)
class Parts:
    """Of one run.

    Attributes:
        seconds: Wall time of the whole run.
        model: The share of it inside onnxruntime.
        environment: The share of it inside the environment.
        own_us: Microseconds of wall time outside of both, a scored action.
        own_cpu_us: The same in CPU time of the searching thread.
        tokens_us: The tokenizer's part of `own_cpu_us`.
        scorer_us: The part of `RewardModel` beside tokenizer and model.
        actions: Actions that were scored.
    """

    seconds: float
    model: float
    environment: float
    own_us: float
    own_cpu_us: float
    tokens_us: float
    scorer_us: float
    actions: int

    @property
    def share(self) -> float:
        """What is not our own."""
        return self.model + self.environment

    @property
    def search_us(self) -> float:
        """The part of `own_cpu_us` that is neither the tokenizer's nor the scorer's."""
        return self.own_cpu_us - self.tokens_us - self.scorer_us


def new_search(model: RewardModel, num_simulations: int) -> Search:
    return Search(model, num_simulations=num_simulations, seed=0)


def measure(
    model: RewardModel, env: Environment, task: str, *, seed: int, num_simulations: int
) -> tuple[Parts, SearchResult]:
    """One run on a new model, timed by parts."""
    timed, whole = TimedEnvironment(env), Clock()
    with timing() as clocks, whole.running():
        result = new_search(model, num_simulations).run(timed, task, seed=seed)
    actions = model.stats.scored_steps
    assert actions, f"{task}, {seed}: nothing was scored"
    sessions, tokens, scorer = clocks
    scale = 1e6 / actions
    parts = Parts(
        whole.wall,
        sessions.wall / whole.wall,
        timed.clock.wall / whole.wall,
        scale * (whole.wall - sessions.wall - timed.clock.wall),
        scale * (whole.cpu - sessions.cpu - timed.clock.cpu),
        scale * tokens.cpu,
        scale * (scorer.cpu - sessions.cpu - tokens.cpu),
        actions,
    )
    return parts, result


@contextmanager
def timing() -> Iterator[tuple[Clock, Clock, Clock]]:
    """Clocks of onnxruntime, of the tokenizer, and of the scorer, which calls both."""
    timed = (
        (onnxruntime.InferenceSession, "run"),
        (Template, "write"),
        (RewardModel, "score"),
    )
    clocks = Clock(), Clock(), Clock()
    with ExitStack() as stack:
        for clock, (owner, name) in zip(clocks, timed, strict=True):
            around = clock.around(getattr(owner, name))
            stack.enter_context(mock.patch.object(owner, name, around))
        yield clocks


def check(model: RewardModel, env: Environment, task: str, *, seed: int, folder: Path) -> None:
    """The scores of the first screen's candidates, run together, equal those of each alone."""
    screen = env.reset(task, seed=seed)
    steps = candidate_steps(screen, env.candidates(), ())
    plain = RewardModel(folder, threads=1, deterministic=True, state_cache_bytes=0, verify=False)
    found, expected = model.score(steps).total, plain.score(steps).total
    np.testing.assert_allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE)
    assert np.ptp(found) > 0, f"{task}: all candidates score the same"


def run(
    size: str,
    env: Environment,
    folder: Path,
    *,
    tasks: tuple[str, ...] = TASKS,
    seeds: tuple[int, ...] = SEEDS,
    num_simulations: int = NUM_SIMULATIONS,
) -> list[Parts]:
    """The parts of a run for each task and seed; a repeated run must find the same actions."""
    model_folder = export_random(folder, size)
    # What torch left behind is no part of a search, and the collector need not look at it.
    gc.collect()
    gc.freeze()
    found = []
    for task, seed in product(tasks, seeds):
        model = RewardModel(model_folder, providers="cpu", threads=1)
        env.reset(task, seed=seed)  # what is read from a file is read here
        parts, result = measure(model, env, task, seed=seed, num_simulations=num_simulations)
        found.append(parts)
        check(model, env, task, seed=seed, folder=model_folder)
        if len(found) == 1:
            again = new_search(model, num_simulations).run(env, task, seed=seed)
            assert again.actions == result.actions, f"{task}, {seed}: timing changed the search"
    gc.unfreeze()
    return found


def score_alone(folder: Path, *, num_states: int = 40, num_actions: int = 16) -> dict[str, float]:
    """Our own CPU microseconds an action in `RewardModel.score`, one state a call; medians.

    `new` is the first call for a state, with the tokenizer in it, `known` the second.
    """
    model = RewardModel(folder, providers="cpu", threads=1)
    own: dict[str, list[float]] = {"new": [], "known": []}
    for state in range(num_states):
        # Words that every tokenizer knows: those that it does not know would all be the same.
        name = " ".join("button" if state >> bit & 1 else "link" for bit in range(8))
        steps = [
            Step(f"click {name}", (), f"click {'button ' * i}link", f"{name}\n" * 8)
            for i in range(num_actions)
        ]
        totals = []
        for column in own.values():
            with timing() as (sessions, _, scorer):
                totals.append(model.score(steps).total)
            column.append(1e6 * (scorer.cpu - sessions.cpu) / num_actions)
        np.testing.assert_allclose(*totals, rtol=TOLERANCE, atol=TOLERANCE)
    assert model.stats.states.hits == num_states
    return {name: round(statistics.median(column), 1) for name, column in own.items()}


def summary(runs: list[Parts]) -> dict[str, float]:
    names = ("seconds", "actions", "model", "environment", "share", "own_us", "own_cpu_us")
    names += ("tokens_us", "scorer_us", "search_us")
    return {
        name: round(statistics.median(getattr(parts, name) for parts in runs), 4) for name in names
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--browser", action="store_true", help="play in Chromium")
    parser.add_argument("--simulations", type=int, default=NUM_SIMULATIONS)
    parser.add_argument("--model", choices=MODELS, help="one of them alone")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    env: Environment = MiniWob() if options.browser else Recorded.builtin()
    figures: dict[str, dict[str, float]] = {}
    try:
        for size in (options.model,) if options.model else MODELS:
            with tempfile.TemporaryDirectory() as scratch:
                runs = run(size, env, Path(scratch), num_simulations=options.simulations)
                alone = score_alone(Path(scratch, f"{size}-model"))
            figures[size] = summary(runs)
            figures[size] |= {f"alone_{name}_us": us for name, us in alone.items()}
    finally:
        env.close()
    print(
        f"{len(TASKS) * len(SEEDS)} runs of {options.simulations} simulations, "
        f"{'Chromium' if options.browser else 'recorded'}, one thread; medians of a run"
    )
    print(
        f"goals: at least {GOAL_SHARE:.0%} in model or environment, "
        f"at most {GOAL_OWN_US:.0f} us of our own an action"
    )
    header = ("wall s", "actions", "model", "env", "both", "own us", "CPU us")
    parts = ("tokens us", "scorer us", "search us")
    print(f"{'':12}" + "".join(f"{name:>10}" for name in header + parts))
    for size, row in figures.items():
        print(
            f"{size:12}{row['seconds']:10.3f}{row['actions']:10.0f}{row['model']:10.1%}"
            f"{row['environment']:10.1%}{row['share']:10.1%}{row['own_us']:10.0f}"
            f"{row['own_cpu_us']:10.0f}{row['tokens_us']:10.0f}{row['scorer_us']:10.0f}"
            f"{row['search_us']:10.0f}"
        )
    print("the scorer alone, 16 candidates a state, own CPU us an action: new state / known state")
    for size, row in figures.items():
        print(f"{size:12}{row['alone_new_us']:10.1f} / {row['alone_known_us']:.1f}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
