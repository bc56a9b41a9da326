"""`Search` under every policy, budget and sharing rule, on the toy lock."""

import asyncio
import threading
import time
import zlib
from collections.abc import Sequence
from typing import get_args

import numpy as np
import pytest
from lock_env import OPEN, LockEnv, press
from similar_fast.errors import ScorerError
from similar_fast.search.search import Search
from similar_fast.search.settings import CancelledRunError, RunPolicy
from similar_fast.types import Action, Observation, Scores, Step, StepResult

POLICIES = [policy for policy in get_args(RunPolicy) if policy != "auto"]


class CodeScorer:
    """Prefers what continues the code, and opening only when it is typed."""

    def __init__(self) -> None:
        self.steps = 0

    def score(self, steps: Sequence[Step]) -> Scores:
        self.steps += len(steps)
        return Scores(np.array([self._one(step) for step in steps], np.float32))

    @staticmethod
    def _one(step: Step) -> float:
        code = step.instruction.split()[-1]
        typed = step.observation.split()[1] if step.observation.split()[1] != "done" else ""
        name = step.action.split('"')[1]
        if name == "open":
            return 1.0 if typed == code else -1.0
        return 0.5 if (typed + name) == code[: len(typed) + 1] else 0.0


class FiveScorer(CodeScorer):
    """Dimension 0 as `CodeScorer`; dimension 1 its opposite."""

    def score(self, steps: Sequence[Step]) -> Scores:
        good = super().score(steps).total
        dims = np.zeros((len(steps), 5), np.float32)
        dims[:, 0], dims[:, 1] = good, -good
        return Scores(good, dims)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("greedy_first", [True, False])
def test_every_policy_opens_the_lock(policy: RunPolicy, *, greedy_first: bool) -> None:
    search = Search(CodeScorer(), policy=policy, num_simulations=150, greedy_first=greedy_first)

    result = search.run(LockEnv(), "hard", seed=7)

    assert result.success
    assert result.policy == policy
    assert result.num_simulations <= 150
    visits = [node.visits for node in result.nodes if node.parent == 0]
    assert sum(visits) == result.num_simulations == result.nodes[0].visits


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("num_envs", [2, 3])
def test_the_number_of_environments_changes_nothing(policy: RunPolicy, num_envs: int) -> None:
    search = Search(CodeScorer(), policy=policy, num_simulations=80, seed=3)

    one = search.run(LockEnv(), "hard", seed=7)
    many = search.run([LockEnv() for _ in range(num_envs)], "hard", seed=7)

    assert many.actions == one.actions
    assert many.nodes == one.nodes
    assert many.stopped_by == one.stopped_by


class CommutingEnv(LockEnv):
    """Shows the letters in order, so that several paths lead to one screen; may be slow."""

    def __init__(self, delay: float = 0.0) -> None:
        super().__init__()
        self._delay = delay

    def step(self, action: Action):  # type: ignore[no-untyped-def]  # noqa: ANN201
        time.sleep(self._delay)
        result = super().step(action)
        if self._typed is not None:
            self._typed = "".join(sorted(self._typed))
            return StepResult(self._observe(is_done=False), False, False, result.error)
        return result


class HistoryScorer(CodeScorer):
    """Reads the way to a screen, too."""

    @staticmethod
    def _one(step: Step) -> float:
        return zlib.crc32(repr((step.history, step.action)).encode()) / 2**32


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("policy", ["uct", "gumbel"])
def test_the_quickest_environment_does_not_decide(policy: RunPolicy, seed: int) -> None:
    search = Search(
        HistoryScorer(), policy=policy, num_simulations=60, greedy_first=False, seed=seed
    )

    one = search.run(CommutingEnv(), "endless", seed=7)
    many = search.run([CommutingEnv(0.002), CommutingEnv()], "endless", seed=7)

    assert many.nodes == one.nodes
    assert any(node.is_merged for node in one.nodes)


def test_environments_and_proposers_work_side_by_side() -> None:
    running: list[int] = []
    most: list[int] = []
    lock = threading.Lock()

    class SlowProposer:
        def propose(self, observation: Observation, history: Sequence[Action]) -> list[Action]:
            with lock:
                running.append(1)
                most.append(len(running))
            time.sleep(0.01)
            with lock:
                running.pop()
            return [*map(press, "abc"), OPEN] if len(history) < 4 else []

    search = Search(CodeScorer(), proposer=SlowProposer(), policy="uct", num_simulations=80)

    search.run([LockEnv() for _ in range(4)], "endless", seed=7)

    assert max(most) > 1


def test_the_same_environment_twice_is_an_error() -> None:
    env = LockEnv()

    with pytest.raises(ValueError, match="must be given once"):
        Search(CodeScorer()).run(iter([env, env]), "easy", seed=7)


def test_a_stop_that_is_set_before_sends_nothing() -> None:
    stop = threading.Event()
    stop.set()
    env = LockEnv()

    with pytest.raises(CancelledRunError):
        Search(CodeScorer()).run(env, "easy", seed=7, stop=stop)

    assert (env.resets, env.steps) == (0, 0)


def test_a_stop_ends_the_final_run_before_its_next_step() -> None:
    stop = threading.Event()

    class StoppingEnv(LockEnv):
        finals = 0

        def reset(self, task: str, *, seed: int) -> Observation:
            if self.steps >= 9:
                stop.set()
                self.finals = self.steps
            return super().reset(task, seed=seed)

    env = StoppingEnv()
    with pytest.raises(CancelledRunError):
        Search(CodeScorer(), budget=9).run(env, "endless", seed=7, stop=stop)

    assert env.steps == env.finals == 9


def test_many_aruns_run_at_the_same_time() -> None:
    meeting = threading.Barrier(24)

    class MeetingEnv(LockEnv):
        def reset(self, task: str, *, seed: int) -> Observation:
            if self.resets == 0:
                meeting.wait(timeout=30)
            return super().reset(task, seed=seed)

    search = Search(CodeScorer(), num_simulations=5)

    async def main() -> int:
        runs = [search.arun(MeetingEnv(), "easy", seed=seed) for seed in range(24)]
        return len(await asyncio.gather(*runs))

    assert asyncio.run(main()) == 24


def test_auto_is_gumbel_for_few_simulations_and_puct_for_many() -> None:
    few = Search(CodeScorer(), num_simulations=200).run(LockEnv(), "easy", seed=7)
    many = Search(CodeScorer(), num_simulations=201).run(LockEnv(), "easy", seed=7)

    assert (few.policy, many.policy) == ("gumbel", "puct")


def test_a_budget_of_scorer_calls_ends_the_search() -> None:
    search = Search(CodeScorer(), max_scorer_calls=3, max_batch_size=1)

    result = search.run(LockEnv(), "endless", seed=7)

    assert result.stopped_by == "scorer calls"
    assert result.scorer_calls == 3


def test_a_budget_of_seconds_ends_the_search_between_batches() -> None:
    class SlowScorer(CodeScorer):
        def score(self, steps: Sequence[Step]) -> Scores:
            time.sleep(0.02)
            return super().score(steps)

    search = Search(SlowScorer(), max_seconds=0.05, num_simulations=10_000)

    result = search.run(LockEnv(), "endless", seed=7)

    assert result.stopped_by == "seconds"
    assert result.scorer_calls < 50


def test_a_budget_of_steps_ends_the_search() -> None:
    result = Search(CodeScorer(), budget=9).run(LockEnv(), "endless", seed=7)

    assert result.stopped_by == "budget"
    assert result.env_steps <= 9


def test_a_tree_with_nothing_left_ends_the_search() -> None:
    search = Search(CodeScorer(), max_depth=2, num_simulations=100_000, policy="uct")

    result = search.run(LockEnv(), "hard", seed=7)

    assert result.stopped_by == "exhausted"
    assert result.num_simulations < 200


def test_visits_that_cannot_be_overtaken_end_the_search() -> None:
    settings: dict[str, object] = {"commit": "visits", "policy": "puct", "solve": False}
    settings |= {"num_simulations": 60, "c_puct": 0.0}

    early = Search(CodeScorer(), **settings).run(LockEnv(), "hard", seed=7)  # type: ignore[arg-type]
    late = Search(CodeScorer(), early_stop=False, **settings).run(  # type: ignore[arg-type]
        LockEnv(), "hard", seed=7
    )

    assert early.stopped_by == "decided"
    assert late.stopped_by == "simulations"
    assert early.num_simulations < late.num_simulations == 60
    assert early.actions == late.actions


def test_a_screen_seen_before_is_one_state() -> None:
    class TwoWays(LockEnv):
        """`b` types an a as well, so that two steps lead to one screen."""

        def step(self, action: Action):  # type: ignore[no-untyped-def]  # noqa: ANN202
            return super().step(press("a") if action == press("b") else action)

    def run(*, merge: bool) -> tuple[int, int]:
        search = Search(
            CodeScorer(), merge=merge, max_depth=3, num_simulations=100_000, policy="best_first"
        )
        result = search.run(TwoWays(), "hard", seed=7)
        merged = sum(node.is_merged for node in result.nodes)
        assert result.stopped_by == "exhausted"
        return merged, result.env_steps

    merged, steps = run(merge=True)
    apart, more_steps = run(merge=False)

    assert apart == 0
    assert merged == 3  # below the first screen and below each of the two after one letter
    assert steps < more_steps


def test_solved_steps_get_no_more_simulations() -> None:
    settings = {"max_depth": 4, "num_simulations": 90, "policy": "uct", "early_stop": False}

    solving = Search(CodeScorer(), solve=True, **settings).run(  # type: ignore[arg-type]
        LockEnv(), "hard", seed=7
    )
    plain = Search(CodeScorer(), solve=False, **settings).run(  # type: ignore[arg-type]
        LockEnv(), "hard", seed=7
    )

    ended = [node for node in solving.nodes if node.is_done]
    assert {node.visits for node in ended} == {1}
    assert all(node.is_solved for node in ended)
    assert any(node.visits > 1 for node in plain.nodes if node.is_done)


def test_weights_make_the_total() -> None:
    good = Search(FiveScorer(), weights=(1, 0, 0, 0, 0)).run(LockEnv(), "hard", seed=7)
    bad = Search(FiveScorer(), weights=(0, 1, 0, 0, 0)).run(LockEnv(), "hard", seed=7)

    assert good.success
    assert not bad.success
    assert [score.total for score in good.scores] == [0.5, 0.5, 0.5, 1.0]
    assert bad.actions == (OPEN,)


def test_weights_without_dimensions_are_an_error() -> None:
    search = Search(CodeScorer(), weights=(1, 0, 0, 0, 0))

    with pytest.raises(ScorerError, match="gives no dimensions to weigh"):
        search.run(LockEnv(), "hard", seed=7)


def test_memory_cap_keeps_the_search_going() -> None:
    search = Search(CodeScorer(), max_nbytes=1500, num_simulations=300, policy="puct")

    result = search.run(LockEnv(), "hard", seed=7)

    assert result.success
    capped = {node.parent for node in result.nodes}
    free = Search(CodeScorer(), num_simulations=300, policy="puct").run(LockEnv(), "hard", seed=7)
    assert len(capped) < len({node.parent for node in free.nodes}) / 2


@pytest.mark.parametrize("policy", POLICIES)
def test_a_search_without_early_stop_ends_as_well(policy: RunPolicy) -> None:
    search = Search(CodeScorer(), policy=policy, max_depth=1, num_simulations=500, early_stop=False)

    result = search.run(LockEnv(), "hard", seed=7)

    assert result.stopped_by in ("exhausted", "simulations")


@pytest.mark.parametrize("policy", ["abmcts", "widening"])
def test_an_adaptive_search_ends_when_its_memory_is_spent(policy: RunPolicy) -> None:
    search = Search(CodeScorer(), policy=policy, max_nbytes=2000, num_simulations=300)

    result = search.run(LockEnv(), "endless", seed=7)

    assert result.stopped_by == "memory"
    assert 0 < result.num_simulations < 300


def test_arun_runs_so_many_at_a_time() -> None:
    running: list[int] = []
    most: list[int] = []
    lock = threading.Lock()

    class CountedEnv(LockEnv):
        def reset(self, task: str, *, seed: int) -> Observation:
            with lock:
                running.append(1)
                most.append(len(running))
            time.sleep(0.01)
            try:
                return super().reset(task, seed=seed)
            finally:
                with lock:
                    running.pop()

    search = Search(CodeScorer(), num_simulations=10, max_concurrency=2)

    async def main() -> list[bool]:
        runs = [search.arun(CountedEnv(), "easy", seed=seed) for seed in range(6)]
        return [result.success for result in await asyncio.gather(*runs)]

    assert asyncio.run(main()) == [True] * 6
    assert max(most) <= 2
    assert asyncio.run(main()) == [True] * 6  # in another event loop as well


def test_a_waiting_arun_can_be_cancelled() -> None:
    search = Search(CodeScorer(), num_simulations=10, max_concurrency=1)
    env = LockEnv()

    async def main() -> bool:
        first = asyncio.create_task(search.arun(LockEnv(), "easy", seed=0))
        second = asyncio.create_task(search.arun(env, "easy", seed=0))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        return (await first).success

    assert asyncio.run(main())
    assert env.resets == 0


def test_max_concurrency_below_one_is_an_error() -> None:
    with pytest.raises(ValueError, match="max_concurrency must be at least 1, got 0"):
        Search(CodeScorer(), max_concurrency=0)


def test_no_environment_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one environment, got none"):
        Search(CodeScorer()).run([], "easy", seed=0)
