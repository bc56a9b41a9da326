"""CPU seconds of MiniWob against the package's own Selenium environment, in one run.

Both play the same six actions of the same tasks and seeds, each episode on a page loaded anew. The
package's environment is timed twice: as it comes, with a picture a step, and without pictures, as
MiniWob, which takes one only when it is asked for. Counted is the CPU time of this process and of
all that the environment started: driver, browser, renderers. Chromium and chromedriver are taken
from PATH.

    python benches/bench_env.py --episodes 10 --json env.json
"""

import argparse
import json
import os
import random
import shutil
import statistics
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from similar_fast.envs.miniwob import MiniWob
from similar_fast.types import Action

# Tasks with enough actions that neither end the episode nor start an animation, and the elements
# to act on.
TASKS = {
    "login-user": "textbox",
    "enter-password": "textbox",
    "enter-text": "textbox",
    "click-checkboxes": "checkbox",
    "click-option": "radio",
    "click-tab-2": "tab",
}
STEPS = 6
FIRST_SEED = 4000
# What both must have come to: the fields, the ticks, the open tab.
END_STATE = """JSON.stringify(
    [...(frames[0] || window).document.querySelectorAll("#area input, #area [role=tab]")].map((e) =>
      e.type === "checkbox" || e.type === "radio" ? e.checked
        : e.value || e.getAttribute("aria-selected") || ""))"""


@dataclass(frozen=True)
class Move:
    """One action in both environments' terms.

    Attributes:
        action: As MiniWob takes it.
        x: Pixels from the page's left edge.
        y: Pixels from the page's top.
    """

    action: Action
    x: float
    y: float


@dataclass
class Cost:
    """CPU and wall seconds of each reset and of each episode's steps, one number a measurement.

    Attributes:
        ignored: Processes that belong to something else.
    """

    ignored: frozenset[int] = frozenset()
    cpu: dict[str, list[float]] = field(default_factory=lambda: {"reset": [], "steps": []})
    wall: dict[str, list[float]] = field(default_factory=lambda: {"reset": [], "steps": []})
    seen: dict[int, float] = field(default_factory=dict)

    @contextmanager
    def measure(self, kind: str) -> Iterator[None]:
        others = self.descendants()
        own, wall = time.process_time(), time.perf_counter()
        yield
        own, wall = time.process_time() - own, time.perf_counter() - wall
        self.cpu[kind].append(own + self.descendants() - others)
        self.wall[kind].append(wall)

    def descendants(self) -> float:
        """CPU seconds of the processes below this one, dead ones as they were last seen."""
        for process in psutil.Process().children(recursive=True):
            if process.pid not in self.ignored:
                try:
                    times = process.cpu_times()
                except psutil.NoSuchProcess:
                    continue
                self.seen[process.pid] = times.user + times.system
        return sum(self.seen.values())

    def summary(self) -> dict[str, float]:
        """Medians in milliseconds: of a reset, of a step, and of an episode."""

        def medians(column: dict[str, list[float]]) -> tuple[float, float, float]:
            episodes = [sum(pair) for pair in zip(column["reset"], column["steps"], strict=True)]
            reset, steps = statistics.median(column["reset"]), statistics.median(column["steps"])
            return 1e3 * reset, 1e3 * steps / STEPS, 1e3 * statistics.median(episodes)

        names = ("reset", "step", "episode")
        cpu = {f"{name}_cpu_ms": ms for name, ms in zip(names, medians(self.cpu), strict=True)}
        wall = {f"{name}_wall_ms": ms for name, ms in zip(names, medians(self.wall), strict=True)}
        return {key: round(ms, 1) for key, ms in {**cpu, **wall}.items()}


def plan(env: MiniWob, task: str, seed: int) -> list[Move]:
    """Six actions that keep the episode going, drawn at random."""
    rng = random.Random(f"{task}/{seed}")  # noqa: S311  # no secret
    screen = env.reset(task, seed=seed)
    moves = []
    for _ in range(STEPS):
        action = rng.choice([a for a in env.candidates() if a.target[0] == TASKS[task]])
        index = [element.key for element in screen.elements].index(action.target)
        x, y = page_of(env).evaluate(
            f"(({{x, y}}, w) => [x + w.scrollX, y + w.scrollY])"
            f"(frames[0].__screen.locate({index}), frames[0])"
        )
        moves.append(Move(action, x, y))
        result = env.step(action)
        assert result.error is None, (task, seed, result.error)
        assert not result.is_done, (task, seed)
        screen = result.observation
    return moves


def page_of(env: MiniWob) -> Any:  # noqa: ANN401  # a Page
    page = env._page  # noqa: SLF001  # the bench looks inside to compare
    assert page is not None
    return page


def play_miniwob(env: MiniWob, task: str, seed: int, moves: list[Move], cost: Cost) -> str:
    with cost.measure("reset"):
        env.reset(task, seed=seed)
    with cost.measure("steps"):
        for move in moves:
            env.step(move.action)
    return str(page_of(env).evaluate(END_STATE))


class Selenium:
    """The package's own environment for one task, loaded anew for every episode."""

    def __init__(self, task: str) -> None:
        from miniwob.action import ActionTypes  # noqa: PLC0415  # slow, and only needed here
        from miniwob.environment import MiniWoBEnvironment  # noqa: PLC0415

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the package's own
            self.env = MiniWoBEnvironment(subdomain=task, refresh_freq=1)
        self.types = ActionTypes

    def play(self, seed: int, moves: list[Move], cost: Cost, *, has_pictures: bool) -> str:
        with cost.measure("reset"):
            self.env.reset(seed=seed, options={"record_screenshots": has_pictures})
        with cost.measure("steps"):
            for move in moves:
                self.step(move)
        return str(self.env.instance.driver.execute_script(f"return {END_STATE}"))

    def step(self, move: Move) -> None:
        """One step of the environment: one look at the page, however many keys it takes."""
        click = self.env.create_action(self.types.CLICK_COORDS, coords=[move.x, move.y])
        if move.action.argument is None:
            self.env.step(click)
            return
        keys = self.env.create_action(self.types.TYPE_TEXT, text=move.action.argument)
        self.env.instance.perform(click, self.env.action_space_config)
        # As a user would, and as MiniWob does: what is typed replaces what was there.
        self.env.instance.driver.execute_script("document.activeElement.select()")
        self.env.step(keys)


def run(num_episodes: int) -> dict[str, Any]:
    seeds = range(FIRST_SEED, FIRST_SEED + num_episodes)
    ours, bare, full = Cost(), Cost(), Cost()
    with MiniWob() as env:
        for task in TASKS:
            plans = {seed: plan(env, task, seed) for seed in seeds}
            ends = [play_miniwob(env, task, seed, plans[seed], ours) for seed in seeds]
            mine = frozenset(p.pid for p in psutil.Process().children(recursive=True))
            selenium = Selenium(task)
            try:
                for cost, has_pictures in ((bare, False), (full, True)):
                    cost.ignored |= mine
                    for seed, end in zip(seeds, ends, strict=True):
                        found = selenium.play(seed, plans[seed], cost, has_pictures=has_pictures)
                        assert found == end, f"{task}, {seed}: MiniWob {end}, Selenium {found}"
            finally:
                selenium.env.close()
        versions = env.versions
    return {
        "episodes": len(TASKS) * num_episodes,
        "steps": STEPS,
        "versions": versions,
        "miniwob": ours.summary(),
        "selenium_without_pictures": bare.summary(),
        "selenium": full.summary(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--episodes", type=int, default=10, help="episodes of each task")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    for variable, name in (
        ("MINIWOB_CHROME_BINARY", "chromium"),
        ("MINIWOB_CHROMEDRIVER", "chromedriver"),
    ):
        found = shutil.which(os.environ.get(variable, name))
        if found is None:
            parser.error(f"there is no {name} on PATH")
        os.environ[variable] = found
    figures = run(options.episodes)
    print(f"{figures['episodes']} episodes of {STEPS} steps, medians in ms; the ends agree in all")
    ours, bare, full = (
        figures[name] for name in ("miniwob", "selenium_without_pictures", "selenium")
    )
    print(f"{'':18}{'MiniWob':>10}{'Selenium':>20}{'without pictures':>20}")
    for key, ms in ours.items():
        cells = "".join(f"{other[key]:>12} ({other[key] / ms:.2f}x)" for other in (full, bare))
        print(f"{key.removesuffix('_ms'):18}{ms:>10}{cells}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
