"""Actions that leave the screen as it was: when a search goes on from them, and when not."""

import hashlib
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pytest
from lock_env import LockEnv, press
from similar_fast.search.search import Search
from similar_fast.types import Action, Observation, Scores, Step, StepResult


class Silent(LockEnv):
    """Does not show what was typed, and opens by itself; `help` shows another page."""

    def __init__(self, *names: str, code: str = "ab") -> None:
        super().__init__()
        self._names = names
        self._opens_at = code

    def candidates(self) -> Sequence[Action]:
        return [press(name) for name in self._names] if self._typed is not None else []

    def step(self, action: Action) -> StepResult:
        self.steps += 1
        assert self._typed is not None
        self._typed += action.target[1]
        is_done = self._typed == self._opens_at
        return StepResult(self._observe(is_done=is_done), is_done, is_done)

    def _observe(self, *, is_done: bool) -> Observation:
        text = "help" if "help" in (self._typed or "") else "a silent lock"
        digest = hashlib.sha256(f"{text} {is_done}".encode()).hexdigest()[:16]
        return Observation("open", text, (), digest)


class Prefers:
    """Scores presses by the place of their letter, the first the best."""

    def __init__(self, *names: str) -> None:
        self._scores = {str(press(name)): -float(place) for place, name in enumerate(names)}

    def score(self, steps: Sequence[Step]) -> Scores:
        return Scores(np.array([self._scores[step.action] for step in steps], np.float32))


@pytest.mark.parametrize("policy", ["gumbel", "puct", "best_first"])
def test_run_goes_on_from_an_action_that_shows_nothing_where_nothing_else_leads_on(
    policy: Literal["gumbel", "puct", "best_first"],
) -> None:
    search = Search(Prefers("a", "c", "b"), policy=policy, num_simulations=20)

    result = search.run(Silent("c", "b", "a"), "easy", seed=7)

    assert result.success
    assert result.committed_by == "ending"
    by_id = {node.id: node for node in result.nodes}
    opened = [n for n in result.nodes if n.parent == 0 and not n.is_closed]
    assert [n.action for n in opened] == [str(press("a"))]
    assert {n.action for n in result.nodes if n.parent == opened[0].id} == {
        str(press("b")),
        str(press("c")),
    }
    assert all(by_id[n.parent].text == "a silent lock" for n in result.nodes[1:])


def test_run_leaves_an_action_that_shows_nothing_where_another_leads_on() -> None:
    result = Search(Prefers("a", "b", "help"), num_simulations=40, max_depth=3).run(
        Silent("a", "b", "help"), "easy", seed=7
    )

    assert not result.success
    at_root = {n.action: n for n in result.nodes if n.parent == 0}
    assert at_root[str(press("a"))].is_closed
    assert at_root[str(press("b"))].is_closed
    assert not at_root[str(press("help"))].is_closed
    assert result.num_simulations == len([n for n in result.nodes if n.visits and n.parent >= 0])


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_run_counts_the_actions_that_it_held_back(limit: int) -> None:
    by_simulations = Search(Prefers("a", "b", "c"), num_simulations=limit)
    by_steps = Search(Prefers("a", "b", "c"), num_simulations=40, budget=limit)

    for search, count in ((by_simulations, "num_simulations"), (by_steps, "env_steps")):
        result = search.run(Silent("a", "b", "c", code="never"), "easy", seed=7)
        assert getattr(result, count) == limit
        assert result.num_simulations == sum(n.visits for n in result.nodes if n.parent == 0)
        assert result.stopped_by in ("simulations", "budget")


def test_run_that_ends_at_once_leaves_what_it_held_back() -> None:
    result = Search(Prefers("a", "b"), num_simulations=20).run(
        Silent("a", "b", code="b"), "easy", seed=7
    )

    assert result.success
    assert result.actions == (press("b"),)
    assert [n.is_closed for n in result.nodes if n.action == str(press("a"))] == [True]
