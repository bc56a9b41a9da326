"""One episode of MCTS-P on the toy lock: what is filed, labelled, dropped and counted."""

import random
from dataclasses import replace

import pytest
from collect_fakes import SETTINGS, HintScorer
from hypothesis import given, settings
from hypothesis import strategies as st
from lock_env import BROKEN, NOTHING, OPEN, LockEnv, press
from similar_fast.collect.candidates import sample_candidates
from similar_fast.collect.episode import Episode, collect_episode
from similar_fast.collect.policies import RolloutPolicy, ScoreCache
from similar_fast.collect.proxies import coherence, task_relevance
from similar_fast.collect.rollouts import Player
from similar_fast.collect.settings import CollectSettings, Target
from similar_fast.errors import EnvError
from similar_fast.types import Action, Observation, StepResult


def episode(
    env: LockEnv | None = None, how: CollectSettings = SETTINGS, task: str = "easy", seed: int = 0
) -> Episode:
    cache = ScoreCache(HintScorer())
    return collect_episode(env or LockEnv(), task, seed=seed, settings=how, cache=cache)


def player(env: LockEnv, **options: int) -> Player:
    policy = RolloutPolicy(ScoreCache(HintScorer()), temperature=1.0)
    return Player(env, "easy", seed=0, policy=policy, **{"max_steps": 4, **options})


def test_rollout_files_every_action_it_chose() -> None:
    plays = player(LockEnv())
    plays.look()

    found = plays.rollout((), press("a"), number=0)

    assert found is not None
    for place, action in enumerate(found.path):
        edge = plays.trie.edge(found.path[:place], action)
        assert (edge.rollouts, edge.successes) == (1, int(found.success))


def test_replayed_prefix_is_not_filed() -> None:
    plays = player(LockEnv())
    plays.look()
    first = plays.rollout((), press("a"), number=0)
    assert first is not None
    before = plays.trie.edge((), press("a")).rollouts

    plays.rollout((press("a"),), press("b"), number=0)

    assert plays.trie.edge((), press("a")).rollouts == before


def test_labels_of_the_known_solution() -> None:
    plays = player(LockEnv())
    plays.look()
    path = (press("a"), press("b"))
    plays.rollout((), press("a"), number=0)
    plays.rollout((press("a"),), press("b"), number=0)

    found = plays.rollout(path, OPEN, number=0)

    assert found is not None
    assert found.success
    edge = plays.trie.edge(path, OPEN)
    assert edge.is_final
    assert (edge.successes, edge.sum_remaining, edge.least_remaining) == (edge.rollouts, 0, 0)


@pytest.mark.parametrize("action", [NOTHING, BROKEN])
def test_idle_action_gets_no_rollout(action: Action) -> None:
    plays = player(LockEnv())
    plays.look()

    assert plays.rollout((), action, number=0) is None

    edge = plays.trie.edge((), action)
    assert edge.is_idle
    assert edge.rollouts == 0
    labelled = {step.action for step in episode(how=replace(SETTINGS, idle="skip")).steps}
    assert action not in labelled
    assert press("a") in labelled


def test_idle_action_has_the_odds_of_its_state_and_no_progress() -> None:
    steps = episode().steps
    by_path = {(*step.path, step.action): step for step in steps}
    idle = [step for step in steps if step.edge.is_idle]

    assert idle
    assert {step.path == () for step in idle} == {True, False}
    for step in idle:
        assert (step.labels.helpfulness, step.labels.efficiency, step.coherence) == (0, 0, 0)
        if step.path in by_path:
            before = by_path[step.path]
            assert step.labels.odds_of_success == before.labels.odds_of_success
            assert step.edge.rollouts == before.edge.rollouts


def test_same_arguments_give_the_same_episode() -> None:
    first, second = (replace(episode(), seconds=0.0) for _ in range(2))

    assert first == second


def test_other_draws_give_other_rollouts() -> None:
    other = episode(how=replace(SETTINGS, draws=1))

    assert other.steps != episode().steps


def test_unsolvable_task_is_skipped() -> None:
    found = episode(task="endless", how=replace(SETTINGS, root_rollouts=3))

    assert (found.status, found.steps, found.counts.rollouts) == ("skipped", (), 3)


def test_labels_need_two_rollouts_or_an_ending() -> None:
    steps = episode().steps

    assert steps
    assert all(step.edge.is_final or step.edge.rollouts >= 2 for step in steps)


def test_one_rollout_is_a_label_where_no_more_are_asked_for() -> None:
    steps = episode(how=replace(SETTINGS, rollouts=1, min_rollouts=1)).steps

    assert any(step.edge.rollouts == 1 and not step.edge.is_final for step in steps)
    assert all(
        step.labels.odds_of_success in {0.0, 1.0} for step in steps if step.edge.rollouts < 2
    )


def test_greedy_mode_reaches_the_goal() -> None:
    found = episode(how=replace(SETTINGS, mode="greedy", rollouts=12, min_rollouts=6, width=7))

    assert found.success


def test_budget_ends_the_episode() -> None:
    whole, half = episode(), episode(how=replace(SETTINGS, budget=40))

    assert half.counts.env_steps <= 40 + SETTINGS.max_steps
    assert half.counts.env_steps < whole.counts.env_steps


class FlickeringLock(LockEnv):
    """Shows another screen now and then, after the same actions."""

    def _observe(self, *, is_done: bool) -> Observation:
        found = super()._observe(is_done=is_done)
        return replace(found, digest="0" * 16) if self.steps % 31 == 30 else found


def test_diverged_replay_is_dropped_and_counted() -> None:
    clean, flickering = episode(), episode(FlickeringLock())

    assert clean.counts.diverged == 0
    assert flickering.counts.diverged >= 1
    # What did not pass the flicker has the labels it has without.
    same = {(s.path, s.action): s.labels for s in clean.steps}
    assert any(same.get((s.path, s.action)) == s.labels for s in flickering.steps)


class DyingLock(LockEnv):
    """Dies at some steps, and works again after a reset."""

    def __init__(self, dies_at: set[int]) -> None:
        super().__init__()
        self._deaths = dies_at

    def step(self, action: Action) -> StepResult:
        if self.steps in self._deaths:
            self._deaths.discard(self.steps)
            raise EnvError("the lock fell apart")
        return super().step(action)


def test_death_costs_one_rollout_and_no_label() -> None:
    clean, dying = episode(), episode(DyingLock({20, 90}))

    assert dying.counts.lost == 2
    assert dying.steps == clean.steps


def test_env_that_stays_dead_raises() -> None:
    with pytest.raises(EnvError, match="fell apart"):
        episode(DyingLock(set(range(20, 30))))


def test_proxies_by_hand() -> None:
    plays = player(LockEnv())
    plays.look()
    plays.rollout((), press("a"), number=0)
    plays.rollout((press("a"),), press("b"), number=0)
    plays.rollout((press("a"), press("b")), OPEN, number=0)
    plays.rollout((), press("c"), number=0)
    trie = plays.trie

    assert trie.shortest == (press("a"), press("b"), OPEN)
    assert task_relevance(trie, (press("a"), press("b")), OPEN) == 1.0
    assert task_relevance(trie, (), press("c")) == 0.0
    assert coherence(trie, (), press("a")) == 1.0
    plays.rollout((), NOTHING, number=0)
    assert coherence(trie, (), NOTHING) == 0.0


FIELDS = [("textbox", "user", 0), ("textbox", "password", 0)]
TYPING = [Action("type", field, word) for field in FIELDS for word in ("x", "y", "z")]
BUTTON = Action("click", ("button", "Login", 0))
LINKS = [Action("click", ("a", f"link {n}", 0)) for n in range(20)]


@settings(max_examples=60)
@given(st.integers(1, 30), st.integers(0, 5))
def test_prop_candidates_are_distinct_and_in_order(width: int, seed: int) -> None:
    every = [*TYPING, BUTTON, *LINKS]
    scores = [float(n % 7) for n in range(len(every))]

    picked = sample_candidates(every, scores, width=width, rng=random.Random(seed))

    assert len(picked) == min(width, len(every))
    assert list(picked) == [action for action in every if action in picked]


@given(st.integers(0, 200))
def test_prop_candidates_hold_the_contrasts(seed: int) -> None:
    every = [*TYPING, BUTTON, *LINKS]
    scores = [9.0, *([0.0] * (len(every) - 1))]  # x into user is far ahead

    picked = sample_candidates(every, scores, width=6, rng=random.Random(seed))

    assert TYPING[0] in picked
    assert BUTTON in picked
    assert TYPING[3] in picked or any(a in picked for a in TYPING[1:3])  # near misses of the best


@pytest.mark.parametrize(
    "wrong",
    [
        {"rollouts": 0},
        {"width": 0},
        {"min_rollouts": 5},
        {"budget": 0},
        {"max_steps": 0},
        {"temperature": 0.0},
        {"temperature": float("nan")},
        {"epsilon": 1.5},
        {"c_puct": -1.0},
    ],
)
def test_impossible_settings_raise(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        CollectSettings(**wrong)  # type: ignore[arg-type]


def again(targets: list[Target], how: CollectSettings = SETTINGS) -> Episode:
    cache = ScoreCache(HintScorer())
    return collect_episode(LockEnv(), "easy", seed=0, settings=how, cache=cache, targets=targets)


def test_targets_are_labelled_and_nothing_else() -> None:
    known = episode().steps[3:6]
    targets = [Target(tuple(map(str, s.path)), str(s.action)) for s in known]

    found = again(targets, replace(SETTINGS, draws=1, rollouts=12, min_rollouts=12))

    assert {(s.path, s.action) for s in found.steps} == {(s.path, s.action) for s in known}
    assert all(s.edge.is_final or s.edge.rollouts >= 12 for s in found.steps)


def test_target_behind_an_action_that_changed_nothing_is_reached() -> None:
    found = again([Target((str(NOTHING),), str(press("a")))])

    assert [(s.path, s.action) for s in found.steps] == [((NOTHING,), press("a"))]


@pytest.mark.parametrize("target", [Target((), "click z"), Target(("click z",), str(press("a")))])
def test_target_that_is_not_offered_is_counted(target: Target) -> None:
    found = again([target])

    assert (found.steps, found.counts.missing) == ((), 1)
