import pytest
from lock_env import OPEN, LockEnv, press
from similar_fast.search.cursor import Budget, BudgetSpentError, Cursor, DivergedError

A, B, C = (press(letter) for letter in "abc")


def cursor(env: LockEnv, *, budget: int | None = None) -> Cursor:
    made = Cursor(env, "hard", seed=0, budget=Budget(budget))
    made.start()
    return made


def test_step_from_the_screen_it_stands_on_needs_no_reset() -> None:
    env = LockEnv()
    walk = cursor(env)

    walk.step_from((), C)
    result = walk.step_from((C,), A)

    assert "typed ca" in result.observation.text
    assert (walk.env_steps, walk.resets, env.resets) == (2, 1, 1)


def test_step_from_another_screen_replays_its_prefix() -> None:
    env = LockEnv()
    walk = cursor(env)
    walk.step_from((), C)

    result = walk.step_from((A, B), C)

    assert "typed abc" in result.observation.text
    assert (walk.env_steps, walk.resets) == (4, 2)


def test_step_from_a_longer_walk_starts_anew() -> None:
    walk = cursor(LockEnv())
    walk.step_from((), C)
    walk.step_from((C,), A)

    result = walk.step_from((C,), B)

    assert "typed cb" in result.observation.text
    assert walk.resets == 2


def test_step_from_an_ended_episode_starts_anew() -> None:
    walk = cursor(LockEnv())
    walk.step_from((), OPEN)

    walk.step_from((), A)

    assert walk.resets == 2


@pytest.mark.parametrize(("budget", "fits"), [(2, False), (3, True)])
def test_cost_is_what_is_spent_and_the_budget_holds(budget: int, fits: bool) -> None:  # noqa: FBT001  # a parameter
    env = LockEnv()
    walk = cursor(env, budget=budget)

    assert walk.cost((A, B)) == 3
    if fits:
        walk.step_from((A, B), C)
        assert walk.env_steps == 3
    else:
        with pytest.raises(BudgetSpentError, match="3 steps are needed, 2 of 2 are left"):
            walk.step_from((A, B), C)
        assert env.steps == 0


def test_a_replay_that_differs_raises_and_is_counted() -> None:
    walk = cursor(LockEnv(flaky_at=2))
    walk.step_from((), A)

    with pytest.raises(DivergedError, match=r"after 1 actions .*task 'hard', seed 0"):
        walk.step_from((), A)

    assert walk.diverged == 1


def test_after_a_divergence_the_next_step_starts_anew() -> None:
    walk = cursor(LockEnv(flaky_at=2))
    walk.step_from((), A)
    with pytest.raises(DivergedError):
        walk.step_from((), A)

    result = walk.step_from((), C)

    assert "typed c " in result.observation.text
    assert (walk.resets, walk.diverged) == (3, 1)


def test_final_run_is_not_counted_as_search_steps() -> None:
    env = LockEnv()
    walk = cursor(env, budget=1)
    walk.step_from((), C)

    last = walk.final_run((C, A, B, OPEN))

    assert last is not None
    assert last.success
    assert (walk.env_steps, env.steps) == (1, 5)


def test_final_run_of_nothing_is_none() -> None:
    assert cursor(LockEnv()).final_run(()) is None


def test_final_run_ends_where_the_episode_does() -> None:
    env = LockEnv()

    last = cursor(env).final_run((OPEN, A, B))

    assert last is not None
    assert last.is_done
    assert env.steps == 1


def test_final_run_that_diverges_is_counted_and_goes_on() -> None:
    walk = cursor(LockEnv(flaky_at=3))
    walk.step_from((), C)
    walk.step_from((C,), A)

    last = walk.final_run((C, A, B, OPEN))

    assert last is not None
    assert last.success
    assert walk.diverged == 1
