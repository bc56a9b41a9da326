"""All rollouts of one episode, filed by the actions that they took.

A rollout passes through states; each of its actions from the first free one on is a sample of what
the rollout policy makes of that action. So one rollout labels several actions. The actions of a
replayed prefix were not chosen by the policy, and are not filed.
"""

from dataclasses import dataclass, field

from similar_fast.collect.labels import Outcome
from similar_fast.types import Action, Observation

__all__ = ["Edge", "Path", "State", "Trie"]

Path = tuple[Action, ...]


@dataclass(slots=True)
class Edge:
    """One action at one state, and the rollouts that took it.

    Attributes:
        rollouts: Rollouts filed.
        successes: Those that reached the goal.
        sum_remaining: Actions that these took after this one, added up.
        least_remaining: The fewest that one of these took; None before the first success.
        diverged: Rollouts of this action that were dropped.
        is_final: Whether it ends the episode; None before the first rollout.
        is_idle: Whether it changed nothing that can be seen.
        is_return: Whether it leads back to a screen of its own path.
        is_sampled: Whether it was labelled on purpose, and not only passed.
    """

    rollouts: int = 0
    successes: int = 0
    sum_remaining: int = 0
    least_remaining: int | None = None
    diverged: int = 0
    is_final: bool | None = None
    is_idle: bool = False
    is_return: bool = False
    is_sampled: bool = False

    @property
    def outcome(self) -> Outcome:
        """What the rollouts came to."""
        return Outcome(self.rollouts, self.successes, self.sum_remaining)

    def file(self, *, success: bool, remaining: int) -> None:
        """Counts one rollout that took `remaining` actions after this one."""
        self.rollouts += 1
        if success:
            self.successes += 1
            self.sum_remaining += remaining
            least = self.least_remaining
            self.least_remaining = remaining if least is None else min(least, remaining)


@dataclass(slots=True)
class State:
    """A state that was seen: what was shown, what it offers, what was tried.

    Attributes:
        observation: The screen, without its picture.
        is_done: Whether the episode had ended.
        success: Whether it had ended with the task solved.
        candidates: What it offers.
        edges: What was tried, in the order of the first rollouts.
    """

    observation: Observation
    is_done: bool
    success: bool
    candidates: tuple[Action, ...]
    edges: dict[Action, Edge] = field(default_factory=dict)


class Trie:
    """The states of one episode by the actions that lead to them.

    Attributes:
        states: In the order in which they were first seen.
        shortest: The actions of the shortest successful rollout from the start; None before one.
    """

    def __init__(self) -> None:
        self.states: dict[Path, State] = {}
        self.shortest: Path | None = None

    def __getitem__(self, path: Path) -> State:
        return self.states[path]

    def __contains__(self, path: Path) -> bool:
        return path in self.states

    def digest(self, path: Path) -> str | None:
        """The digest seen at `path`; None where nobody was."""
        state = self.states.get(path)
        return None if state is None else state.observation.digest

    def edge(self, path: Path, action: Action) -> Edge:
        """The edge of `action` at a state that was seen; made where it is new."""
        return self.states[path].edges.setdefault(action, Edge())

    def file(self, path: Path, *, num_fixed: int, success: bool) -> None:
        """Files one finished rollout.

        Args:
            path: All actions from the start.
            num_fixed: How many of them were replayed; they are not filed.
            success: Whether it reached the goal.
        """
        for place in range(num_fixed, len(path)):
            edge = self.edge(path[:place], path[place])
            edge.file(success=success, remaining=len(path) - place - 1)
        if success and (self.shortest is None or len(path) < len(self.shortest)):
            self.shortest = path

    def note(self, path: Path, action: Action) -> None:
        """Says of an action's edge what the screens around it tell."""
        edge = self.edge(path, action)
        after = self.states[(*path, action)]
        edge.is_final = after.is_done
        digest = after.observation.digest
        edge.is_idle = not after.is_done and digest == self.digest(path)
        edge.is_return = not after.is_done and any(
            self.digest(path[:place]) == digest for place in range(len(path))
        )
