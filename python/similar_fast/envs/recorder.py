"""Recording a task: every candidate of every screen within a depth is tried in the real place."""

import logging
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Protocol, runtime_checkable

from similar_fast.envs.recording import Edge, State, write_recording
from similar_fast.errors import EnvError
from similar_fast.protocols import Environment
from similar_fast.types import Action, Observation, StepResult

__all__ = ["record"]

logger = logging.getLogger(__name__)


def record(  # keyword-only, as the style has it
    env: Environment,
    task: str,
    seed: int,
    *,
    depth: int,
    folder: Path,
    max_states: int = 1000,
    verify: int = 20,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Records `task` with `seed` into a file of `folder` and returns its path.

    Two paths share a state where their screens are equal in everything that can be seen: text,
    elements, values, ticks, the place of the keyboard. A page may remember more than it shows, so
    random paths through the shared states are played again in `env`; where one leads elsewhere
    than the recording says, the task is recorded again with a state of its own for each path.

    Args:
        env: The environment; its running episode ends.
        task: The environment's name of the task.
        seed: The task's seed.
        depth: Actions after the reset up to which every candidate is tried.
        folder: Where the file goes; it is written at once at the end, or not at all.
        max_states: The most states that a recording may have.
        verify: How many random paths to play again.
        progress: Called after each tried action with (states found, states still to try).

    Raises:
        EnvError: There are more than `max_states` states, or the environment does not lead to the
            same screens when the same path is played twice.
        ValueError: `depth` is less than 1.
    """
    if depth < 1:
        raise ValueError(f"depth must be at least 1, got {depth}")
    run = _Run(env, task, seed, depth)
    for is_merged in (True, False):
        graph = run.explore(max_states, progress, is_merged=is_merged)
        problem = run.verify(graph, verify)
        if problem is None:
            header = {
                "env": env.name,
                "task": task,
                "seed": seed,
                "depth": depth,
                "versions": {"similar-fast": version("similar-fast"), **_versions(env)},
            }
            instruction = graph.nodes[0].observation.instruction
            return write_recording(folder, header, instruction, graph.states())
        logger.warning("%s, seed %d: %s", task, seed, problem)
    raise EnvError(f"{task!r} with seed {seed} cannot be recorded: {problem}")


@runtime_checkable
class _Versioned(Protocol):
    @property
    def versions(self) -> Mapping[str, str]: ...


def _versions(env: Environment) -> Mapping[str, str]:
    return env.versions if isinstance(env, _Versioned) else {}


@dataclass(slots=True)
class _Node:
    """A state while it is being recorded."""

    observation: Observation
    is_done: bool
    success: bool
    candidates: tuple[Action, ...]
    path: tuple[Action, ...]
    edges: dict[Action, tuple[int, str | None]] = field(default_factory=dict)

    def matches(self, result: StepResult) -> bool:
        return (
            self.observation == result.observation
            and self.is_done == result.is_done
            and self.success == result.success
        )


@dataclass(slots=True)
class _Graph:
    is_merged: bool
    nodes: list[_Node] = field(default_factory=list)
    shared: list[tuple[int, Action]] = field(default_factory=list)  # edges into known states
    places: dict[tuple[Observation, bool, bool], int] = field(default_factory=dict)

    def place(
        self, result: StepResult, candidates: Sequence[Action], path: tuple[Action, ...]
    ) -> int:
        """The number of the state that `result` shows; a new one where it is not known."""
        key = (result.observation, result.is_done, result.success)
        if self.is_merged and key in self.places:
            return self.places[key]
        self.places[key] = len(self.nodes)
        self.nodes.append(_Node(*key, tuple(candidates), path))
        return len(self.nodes) - 1

    def states(self) -> list[State]:
        return [
            State(
                node.observation,
                node.is_done,
                node.success,
                tuple(
                    Edge(action, *node.edges.get(action, (None, None)))
                    for action in node.candidates
                ),
            )
            for node in self.nodes
        ]


@dataclass(frozen=True, slots=True)
class _Run:
    """One task in its environment."""

    env: Environment
    task: str
    seed: int
    depth: int

    def explore(
        self, max_states: int, progress: Callable[[int, int], None] | None, *, is_merged: bool
    ) -> _Graph:
        """Tries every candidate, nearest states first."""
        graph = _Graph(is_merged)
        first = StepResult(self.env.reset(self.task, seed=self.seed), is_done=False, success=False)
        queue = deque([graph.place(first, self.env.candidates(), ())])
        while queue:
            number = queue.popleft()
            for action in graph.nodes[number].candidates:
                if self._try(graph, number, action):
                    queue.append(len(graph.nodes) - 1)
                if len(graph.nodes) > max_states:
                    raise EnvError(
                        f"{self.task!r} with seed {self.seed} has more than {max_states} states "
                        f"within {self.depth} actions; record it less deep"
                    )
                if progress is not None:
                    progress(len(graph.nodes), len(queue))
        return graph

    def _try(self, graph: _Graph, number: int, action: Action) -> bool:
        """Files what `action` leads to; whether that is a new state to go on from."""
        node, known = graph.nodes[number], len(graph.nodes)
        self._go(node)
        result = self.env.step(action)
        if result.error is not None and node.matches(result):
            node.edges[action] = (number, result.error)
            return False
        target = graph.place(result, self.env.candidates(), (*node.path, action))
        node.edges[action] = (target, result.error)
        if target < known:
            graph.shared.append((number, action))
            return False
        return not result.is_done and len(node.path) + 1 < self.depth

    def _go(self, node: _Node) -> None:
        """Brings the environment to `node`."""
        observation = self.env.reset(self.task, seed=self.seed)
        for action in node.path:
            observation = self.env.step(action).observation
        if observation != node.observation:
            raise EnvError(
                f"{self.task!r} with seed {self.seed} is not the same twice: {len(node.path)} "
                f"actions led to screen {observation.digest}, before that to "
                f"{node.observation.digest}"
            )

    def verify(self, graph: _Graph, num_paths: int) -> str | None:
        """Plays random paths again, first those through shared states; what is wrong, or None."""
        rng = random.Random(self.seed)  # noqa: S311  # no secret
        shared = rng.sample(graph.shared, min(num_paths, len(graph.shared)))
        paths = [[*graph.nodes[number].path, action] for number, action in shared]
        paths += [[] for _ in range(num_paths - len(shared))]
        for path in paths:
            problem = self._verify_path(graph, path, rng)
            if problem is not None:
                return problem
        return None

    def _verify_path(self, graph: _Graph, begin: list[Action], rng: random.Random) -> str | None:
        """Plays `begin` and goes on at random as far as the recording goes."""
        self.env.reset(self.task, seed=self.seed)
        node = graph.nodes[0]
        path: list[Action] = []
        while node.edges:
            rest = begin[len(path) :]
            path.append(rest[0] if rest else rng.choice(list(node.edges)))
            target, error = node.edges[path[-1]]
            node = graph.nodes[target]
            result = self.env.step(path[-1])
            if not node.matches(result) or result.error != error:
                done = "; ".join(map(str, path))
                return f"this path leads elsewhere when it is played again: {done}"
            if len(path) >= 2 * self.depth:
                break
        return None
