import itertools
import threading
import time
from collections.abc import Sequence

import numpy as np
import pytest
from lock_env import LockEnv
from similar_fast.errors import EnvError, ScorerError
from similar_fast.search.pool import Job, SearchPool
from similar_fast.search.search import Search
from similar_fast.search.settings import CancelledRunError
from similar_fast.types import Action, Scores, Step


class CountingScorer:
    """Prefers what continues the code; notes the size of each batch."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def score(self, steps: Sequence[Step]) -> Scores:
        self.sizes.append(len(steps))
        return Scores(np.array([self._one(step) for step in steps], np.float32))

    @staticmethod
    def _one(step: Step) -> float:
        code = step.instruction.split()[-1]
        typed = step.observation.split()[1] if step.observation.split()[1] != "done" else ""
        name = step.action.split('"')[1]
        if name == "open":
            return 1.0 if typed == code else -1.0
        return 0.5 if (typed + name) == code[: len(typed) + 1] else 0.0


JOBS = [("easy", seed) for seed in range(6)] + [("hard", seed) for seed in range(6)]


@pytest.mark.parametrize("num_envs", [1, 2, 5])
def test_results_are_those_of_single_searches(num_envs: int) -> None:
    alone = Search(CountingScorer(), num_simulations=40)
    expected = [alone.run(LockEnv(), task, seed=seed) for task, seed in JOBS]

    with SearchPool(CountingScorer(), LockEnv, num_envs=num_envs, num_simulations=40) as pool:
        found = pool.run_all(JOBS)

    assert [it.actions for it in found] == [it.actions for it in expected]
    assert [it.nodes for it in found] == [it.nodes for it in expected]
    assert all(it.success for it in found)


def test_searches_share_batches() -> None:
    barrier = threading.Barrier(4)

    class MeetingEnv(LockEnv):
        """Four searches begin together."""

        def reset(self, task: str, *, seed: int):  # type: ignore[no-untyped-def]  # noqa: ANN202
            if self.resets == 0:
                barrier.wait(timeout=30)
            return super().reset(task, seed=seed)

    scorer = CountingScorer()
    with SearchPool(
        scorer, MeetingEnv, num_envs=4, num_simulations=5, max_wait_s=0.5, max_batch_size=24
    ) as pool:
        pool.run_all(JOBS[:4])

    assert scorer.sizes[0] == 4 * 6


def test_a_job_that_fails_fails_alone() -> None:
    made = itertools.count()

    def make() -> LockEnv:
        return LockEnv(dies_at=3 if next(made) == 0 else None)

    with SearchPool(CountingScorer(), make, num_envs=1, num_simulations=20) as pool:
        done = sorted(pool.run([("hard", 0), ("nothing", 1), ("hard", 2)]), key=lambda it: it.index)

    assert isinstance(done[0].error, EnvError)
    assert isinstance(done[1].error, EnvError)
    assert "task 'nothing' is unknown" in str(done[1].error)
    assert done[2].unwrap().success


def test_a_scorer_that_fails_leaves_the_environment_for_the_next_job() -> None:
    class Shy(CountingScorer):
        def score(self, steps: Sequence[Step]) -> Scores:
            if not self.sizes:
                self.sizes.append(0)
                raise ValueError("not yet")
            return super().score(steps)

    made: list[LockEnv] = []

    def make() -> LockEnv:
        made.append(LockEnv())
        return made[-1]

    with SearchPool(Shy(), make, num_envs=1, num_simulations=20) as pool:
        first, second = sorted(pool.run([("hard", 0), ("hard", 1)]), key=lambda it: it.index)
        with pytest.raises(ScorerError, match="not yet"):
            first.unwrap()

    assert second.unwrap().success
    assert len(made) == 1
    assert made[0].closed


def test_run_takes_jobs_as_they_are_needed() -> None:
    endless = (Job("easy", seed) for seed in itertools.count())

    with SearchPool(CountingScorer(), LockEnv, num_envs=2, num_simulations=10) as pool:
        first = [it.unwrap().success for it in itertools.islice(pool.run(endless), 5)]

    assert first == [True] * 5
    assert next(endless).seed < 5 + 2 * 2 + 2


def test_run_stopped_reports_what_did_not_run() -> None:
    stop = threading.Event()
    stop.set()

    with SearchPool(CountingScorer(), LockEnv, num_envs=2) as pool:
        assert list(pool.run(JOBS, stop=stop)) == []

        stop = threading.Event()
        done = []
        for it in pool.run(JOBS, stop=stop):
            done.append(it)
            stop.set()

    assert done[0].result is not None or isinstance(done[0].error, CancelledRunError)
    assert len(done) < len(JOBS)


def test_bad_settings_are_named() -> None:
    with pytest.raises(ValueError, match="num_envs must be at least 1, got 0"):
        SearchPool(CountingScorer(), LockEnv, num_envs=0)
    with pytest.raises(ValueError, match="max_depth must be at least 1, got 0"):
        SearchPool(CountingScorer(), LockEnv, max_depth=0)
    with pytest.raises(TypeError, match="depth"):
        SearchPool(CountingScorer(), LockEnv, depth=1)


class SlowEnv(LockEnv):
    """Takes its time to begin."""

    def reset(self, task: str, *, seed: int):  # type: ignore[no-untyped-def]  # noqa: ANN201
        time.sleep(0.05)
        return super().reset(task, seed=seed)


def test_closing_the_pool_ends_a_run_with_jobs_in_line() -> None:
    jobs = [("hard", seed) for seed in range(40)]
    with SearchPool(CountingScorer(), SlowEnv, num_envs=2, num_simulations=10) as pool:
        results = pool.run(jobs)
        first = next(results)

    rest = list(results)

    assert first.error is None
    assert all(isinstance(it.error, CancelledRunError) or it.result for it in rest)
    assert len(rest) < len(jobs)
    with pytest.raises(RuntimeError, match="the pool is closed"):
        next(pool.run(jobs))


def test_leaving_a_run_leaves_the_callers_event_alone() -> None:
    stop = threading.Event()
    with SearchPool(CountingScorer(), LockEnv, num_envs=2, num_simulations=10) as pool:
        next(pool.run(JOBS, stop=stop))
        again = list(pool.run(JOBS[:3], stop=stop))

    assert not stop.is_set()
    assert [it.error for it in again] == [None] * 3


def test_an_environment_in_an_unknown_state_is_not_used_again() -> None:
    made: list[LockEnv] = []

    class Odd(LockEnv):
        def step(self, action: Action):  # type: ignore[no-untyped-def]  # noqa: ANN202
            if self is made[0]:
                raise RuntimeError("died")
            return super().step(action)

    def make() -> LockEnv:
        made.append(Odd())
        return made[-1]

    with SearchPool(CountingScorer(), make, num_envs=1, num_simulations=10) as pool:
        done = sorted(pool.run(JOBS[:3]), key=lambda it: it.index)

    assert [type(it.error) for it in done] == [RuntimeError, type(None), type(None)]
    assert len(made) == 2
    assert made[0].closed


def test_close_closes_every_environment() -> None:
    made: list[LockEnv] = []

    class Stubborn(LockEnv):
        def close(self) -> None:
            super().close()
            raise EnvError("it does not close")

    def make() -> LockEnv:
        made.append(Stubborn())
        return made[-1]

    pool = SearchPool(CountingScorer(), make, num_envs=3, num_simulations=10)
    pool.run_all(JOBS)

    with pytest.raises(EnvError, match="does not close"):
        pool.close()

    assert all(env.closed for env in made)


def test_results_do_not_wait_for_jobs_that_come_late() -> None:
    seen: list[int] = []
    with SearchPool(CountingScorer(), LockEnv, num_envs=1, num_simulations=10) as pool:

        def jobs():  # type: ignore[no-untyped-def]  # noqa: ANN202
            for seed in range(6):
                seen.append(seed)
                yield ("easy", seed)

        next(pool.run(jobs()))

    assert len(seen) <= 3
