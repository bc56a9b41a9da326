import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from lock_env import BROKEN, CODES, NOTHING, OPEN, LockEnv, press
from similar_fast.baselines import ConstantScorer
from similar_fast.batching import BatchingScorer
from similar_fast.errors import EnvError, ScorerError
from similar_fast.protocols import Environment, Proposer, Scorer
from similar_fast.search.search import Search
from similar_fast.search.settings import CancelledRunError, SearchProgress
from similar_fast.types import Action, Observation, Scores, SearchResult, Step, StepResult


class CodeScorer:
    """Knows the code from the instruction; `blind` makes it prefer opening at once."""

    def __init__(self, *, blind: bool = False) -> None:
        self.calls: list[int] = []
        self._blind = blind

    def score(self, steps: Sequence[Step]) -> Scores:
        self.calls.append(len(steps))
        return Scores(np.array([self._one(step) for step in steps], dtype=np.float32))

    def _one(self, step: Step) -> float:
        code = step.instruction.split()[-1]
        typed = step.observation.split()[1] if step.observation.split()[1] != "done" else ""
        name = step.action.split('"')[1]
        if name == "open":
            return 1.0 if typed == code else (0.9 if self._blind else -1.0)
        return 0.5 if (typed + name) == code[: len(typed) + 1] else 0.0


class FunctionScorer:
    def __init__(self, function: Callable[[Sequence[Step]], object]) -> None:
        self._function = function

    def score(self, steps: Sequence[Step]) -> Scores:
        return self._function(steps)  # type: ignore[return-value]


def solve(scorer: Scorer, task: str = "hard", **settings: object) -> tuple[SearchResult, LockEnv]:
    env = LockEnv()
    result = Search(scorer, **settings).run(env, task, seed=7)  # type: ignore[arg-type]
    return result, env


def test_the_toy_parts_satisfy_the_protocols() -> None:
    assert isinstance(LockEnv(), Environment)
    assert isinstance(CodeScorer(), Scorer)


def test_run_with_a_good_scorer_opens_the_lock() -> None:
    result, env = solve(CodeScorer())

    assert result.success
    assert result.is_done
    assert result.actions == (press("c"), press("a"), press("b"), OPEN)
    assert [round(score.total, 3) for score in result.scores] == [0.5, 0.5, 0.5, 1.0]
    assert result.env_steps + len(result.actions) == env.steps
    assert result.resets == env.resets


def test_run_finds_what_greedy_misses() -> None:
    greedy_only, _ = solve(CodeScorer(blind=True), budget=1)
    searched, _ = solve(
        CodeScorer(blind=True),
        num_simulations=400,
        max_batch_size=4,
        ending_value="last",
        greedy_margin=0.0,
    )

    assert greedy_only.actions == (OPEN,)
    assert not greedy_only.success
    assert searched.success


def test_run_scores_all_candidates_of_a_screen_in_one_call() -> None:
    scorer = CodeScorer()

    result, _ = solve(scorer, max_batch_size=1, num_simulations=30)

    distinct = 6  # three letters, open, nothing, broken; the repeated one is dropped
    assert set(scorer.calls) == {distinct}
    assert result.scorer_calls == len(scorer.calls)
    assert result.scored_actions == sum(scorer.calls)


def test_run_scores_a_screen_seen_before_for_free() -> None:
    class TwoWays(LockEnv):
        """`b` types an a as well, so that two paths lead to one screen."""

        def step(self, action: Action):  # type: ignore[no-untyped-def]  # noqa: ANN202
            return super().step(press("a") if action == press("b") else action)

    scorer = CodeScorer()
    Search(scorer, num_simulations=200, greedy_first=False, max_depth=3).run(
        TwoWays(), "hard", seed=7
    )

    screens = 1 + 2 + 4  # the empty lock, one letter of {a, c}, two letters
    assert sum(scorer.calls) == screens * 6


def test_run_same_seed_same_result() -> None:
    first, _ = solve(ConstantScorer(), num_simulations=50, seed=3)
    second, _ = solve(ConstantScorer(), num_simulations=50, seed=3)

    assert first.actions == second.actions
    assert first.nodes == second.nodes
    assert first.env_steps == second.env_steps


@pytest.mark.parametrize("budget", [0, 1, 5, 17, 40])
def test_run_never_exceeds_the_budget(budget: int) -> None:
    result, env = solve(ConstantScorer(), budget=budget, num_simulations=1000)

    assert result.env_steps <= budget
    assert result.nodes[0].visits == sum(n.visits for n in result.nodes if n.parent == 0)
    assert env.steps <= budget + len(result.actions)


def test_run_never_reads_success_before_it_commits() -> None:
    class Lying(LockEnv):
        def step(self, action: Action):  # type: ignore[no-untyped-def]  # noqa: ANN202
            result = super().step(action)
            return replace(result, success=not result.success)

    honest, lied = (
        Search(CodeScorer(blind=True), num_simulations=100).run(env, "hard", seed=7)
        for env in (LockEnv(), Lying())
    )

    assert lied.actions == honest.actions
    assert lied.nodes == honest.nodes
    assert lied.success != honest.success


def test_run_closes_actions_that_lead_nowhere() -> None:
    result, _ = solve(ConstantScorer(), num_simulations=300, max_depth=3)

    assert NOTHING not in result.actions
    assert BROKEN not in result.actions
    parents = {node.parent for node in result.nodes}
    for node in result.nodes:
        if node.action in (str(NOTHING), str(BROKEN)):
            assert node.id not in parents


def test_run_reports_a_tree_whose_numbers_fit_together() -> None:
    result, _ = solve(CodeScorer(), num_simulations=80)

    assert [node.id for node in result.nodes] == list(range(len(result.nodes)))
    for node in result.nodes[1:]:
        assert node.parent < node.id
        assert node.visits >= sum(n.visits for n in result.nodes if n.parent == node.id)
    root_visits = sum(node.visits for node in result.nodes if node.parent == 0)
    assert root_visits == result.nodes[0].visits == result.num_simulations
    weighted = sum(node.visits * node.value for node in result.nodes if node.parent == 0)
    assert result.nodes[0].value == pytest.approx(weighted / root_visits)
    for parent in {node.parent for node in result.nodes[1:]}:
        priors = [node.prior for node in result.nodes if node.parent == parent]
        assert sum(priors) == pytest.approx(1.0, abs=1e-3)
    chosen = [node.action for node in result.nodes if node.is_chosen][1:]
    assert chosen == [str(action) for action in result.actions]


def test_run_with_screenshots_keeps_the_picture_of_each_screen() -> None:
    class Pictured(LockEnv):
        def _observe(self, *, is_done: bool) -> Observation:
            seen = super()._observe(is_done=is_done)
            step = self.steps

            def take() -> bytes:
                assert self.steps == step, "the screen is gone"
                return seen.digest.encode()

            return replace(seen, screenshot=take)

    result = Search(CodeScorer(), screenshots=True).run(Pictured(), "hard", seed=7)
    plain = Search(CodeScorer()).run(Pictured(), "hard", seed=7)

    for node in result.nodes:
        assert (node.screenshot is not None) == (node.text != "")
    assert len({node.screenshot for node in result.nodes}) > 4
    assert all(node.screenshot is None for node in plain.nodes)


def test_run_with_a_proposer_that_proposes_nothing_commits_nothing() -> None:
    class Silent:
        def propose(self, observation: Observation, history: Sequence[Action]) -> Sequence[Action]:
            return ()

    assert isinstance(Silent(), Proposer)
    result, _ = solve(CodeScorer(), proposer=Silent())

    assert result.actions == ()
    assert not result.success
    assert result.num_simulations == 0
    assert len(result.nodes) == 1


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            lambda steps: Scores(np.zeros(len(steps) + 1, dtype=np.float32)),
            r"\(7,\), expected \(6,\)",
        ),
        (lambda steps: Scores(np.full(len(steps), np.nan, dtype=np.float32)), "not finite"),
        (lambda steps: [0.0] * len(steps), "returned list, expected Scores"),
        (
            lambda steps: Scores(np.zeros(len(steps)), dims=np.zeros((len(steps), 4))),
            r"expected \(6, 5\)",
        ),
        (lambda _: 1 // 0, "raised ZeroDivisionError"),
    ],
)
def test_run_with_a_broken_scorer_raises_scorer_error(
    answer: Callable[[Sequence[Step]], object], message: str
) -> None:
    with pytest.raises(ScorerError, match=message):
        solve(FunctionScorer(answer))


def test_run_unknown_task_raises_env_error() -> None:
    with pytest.raises(EnvError, match="unknown"):
        solve(CodeScorer(), task="none")


def test_run_environment_that_dies_raises_its_error() -> None:
    with pytest.raises(EnvError, match="fell apart"):
        Search(CodeScorer()).run(LockEnv(dies_at=3), "hard", seed=0)


def test_run_counts_a_diverged_replay_and_goes_on() -> None:
    result = Search(CodeScorer(), num_simulations=60).run(LockEnv(flaky_at=9), "hard", seed=0)

    assert result.diverged >= 1
    assert result.success


def test_run_reports_progress_that_grows() -> None:
    seen: list[SearchProgress] = []

    Search(CodeScorer(), num_simulations=40).run(LockEnv(), "hard", seed=0, progress=seen.append)

    counts = [now.num_simulations for now in seen]
    assert counts == sorted(counts)
    assert seen[-1].best == (press("c"), press("a"), press("b"), OPEN)


@pytest.mark.parametrize(
    "settings",
    [
        {"num_simulations": 0},
        {"max_batch_size": 0},
        {"max_depth": 0},
        {"budget": -1},
        {"prior_temperature": 0.0},
        {"c_puct": -1.0},
        {"greedy_margin": float("nan")},
        {"max_depth": 70_000},
        {"policy": "foo"},
        {"backup": "sum"},
        {"backup_value": "best"},
        {"commit": "never"},
        {"ending_value": "first"},
        {"weights": (1.0, 2.0)},
        {"weights": (1.0, 2.0, 3.0, 4.0, float("nan"))},
    ],
)
def test_search_with_a_bad_setting_raises_value_error(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        Search(CodeScorer(), **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("policy", ["puct", "uct"])
@pytest.mark.parametrize("backup", ["mean", "max"])
@pytest.mark.parametrize("backup_value", ["edge", "screen", "mix"])
def test_run_every_setting_solves_the_easy_lock(
    policy: str, backup: str, backup_value: str
) -> None:
    result, _ = solve(
        CodeScorer(), task="easy", policy=policy, backup=backup, backup_value=backup_value
    )

    assert result.success


def test_run_uses_the_scale_of_a_scorer_that_has_one() -> None:
    class Scaled(CodeScorer):
        scale = (-1000.0, 1000.0)

    plain, _ = solve(CodeScorer(), c_puct=0.5, num_simulations=100)
    scaled, _ = solve(Scaled(), c_puct=0.5, num_simulations=100)
    with BatchingScorer(Scaled(), max_wait_s=0.0) as batching:
        batched, _ = solve(batching, c_puct=0.5, num_simulations=100)

    assert visits_of(scaled) != visits_of(plain)
    assert visits_of(scaled) == visits_of(batched)


def visits_of(result: SearchResult) -> list[int]:
    return [node.visits for node in result.nodes]


@pytest.mark.parametrize("scale", [(1.0, 1.0), (2.0, 1.0), (0.0, float("inf")), 3.0, ("a", "b")])
def test_run_with_a_malformed_scale_raises_scorer_error(scale: object) -> None:
    scorer = CodeScorer()
    scorer.scale = scale  # type: ignore[attr-defined]

    with pytest.raises(ScorerError, match="scale"):
        solve(scorer)


@pytest.mark.parametrize("limit", [1, 2, 5, 30])
def test_run_never_exceeds_num_simulations(limit: int) -> None:
    result, _ = solve(CodeScorer(), num_simulations=limit)

    assert result.num_simulations == limit


def test_run_with_a_spent_budget_commits_no_action_that_leads_nowhere() -> None:
    for seed in range(8):
        result, _ = solve(ConstantScorer(), task="endless", budget=1, seed=seed)

        assert BROKEN not in result.actions
        assert NOTHING not in result.actions


def test_greedy_walk_takes_ties_as_they_were_proposed() -> None:
    for seed in range(4):
        result, _ = solve(ConstantScorer(), num_simulations=1, seed=seed)

        assert result.actions == (press("a"),)


def test_run_without_screenshots_gives_the_scorer_none() -> None:
    class Stale(LockEnv):
        def _observe(self, *, is_done: bool) -> Observation:
            return replace(super()._observe(is_done=is_done), screenshot=lambda: 1 // 0)

    seen = []

    class Looking(CodeScorer):
        def score(self, steps: Sequence[Step]) -> Scores:
            seen.extend(step.screenshot for step in steps)
            return super().score(steps)

    Search(Looking(), num_simulations=10).run(Stale(), "hard", seed=0)

    assert set(seen) == {None}


def test_arun_runs_several_searches_side_by_side() -> None:
    async def both() -> list[SearchResult]:
        search = Search(CodeScorer())
        return await asyncio.gather(
            search.arun(LockEnv(), "easy", seed=1), search.arun(LockEnv(), "hard", seed=2)
        )

    results = asyncio.run(both())

    assert [result.task for result in results] == ["easy", "hard"]
    assert all(result.success for result in results)


def test_arun_cancelled_leaves_the_environment_alone() -> None:
    started = threading.Event()

    class Slow(LockEnv):
        def step(self, action: Action):  # type: ignore[no-untyped-def]  # noqa: ANN202
            started.set()
            return super().step(action)

    env = Slow()

    async def cancel() -> int:
        task = asyncio.create_task(
            Search(ConstantScorer(), num_simulations=10**6, max_depth=5).arun(
                env, "endless", seed=0
            )
        )
        assert await asyncio.to_thread(started.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return env.steps

    steps = asyncio.run(cancel())

    assert env.steps == steps


def test_arun_cancelled_while_the_environment_fails_is_cancelled() -> None:
    started, go_on = threading.Event(), threading.Event()

    class Failing(LockEnv):
        def step(self, action: Action):  # type: ignore[no-untyped-def]  # noqa: ANN202
            started.set()
            go_on.wait(30)
            raise EnvError("gone")

    async def cancel_twice() -> None:
        task = asyncio.create_task(Search(CodeScorer()).arun(Failing(), "hard", seed=0))
        assert await asyncio.to_thread(started.wait, 30)
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()  # the thread still has the environment
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel_twice())


def test_a_stopped_run_is_no_silent_result() -> None:
    stop = threading.Event()
    stop.set()
    search = Search(CodeScorer())

    with pytest.raises(CancelledRunError):
        search._run(LockEnv(), "hard", 0, None, stop)


def test_rank_orders_candidates_best_first() -> None:
    env = LockEnv()
    observation = env.reset("hard", seed=0)

    ranked = Search(CodeScorer()).rank(observation, [press("a"), press("c"), OPEN])

    assert [entry.action for entry in ranked] == [press("c"), press("a"), OPEN]
    assert [entry.score.total for entry in ranked] == [0.5, 0.0, -1.0]


def test_rank_equal_scores_keep_their_order() -> None:
    observation = LockEnv().reset("hard", seed=0)

    ranked = Search(ConstantScorer()).rank(observation, [press(x) for x in "bca"])

    assert [entry.action for entry in ranked] == [press(x) for x in "bca"]


def test_rank_without_candidates_or_proposer_raises_value_error() -> None:
    with pytest.raises(ValueError, match="rank needs candidates"):
        Search(ConstantScorer()).rank(LockEnv().reset("easy", seed=0))


def test_the_toy_codes_are_reachable() -> None:
    assert set("".join(CODES[task] for task in ("easy", "hard"))) <= {"a", "b", "c"}


class Mirrored(LockEnv):
    """`b` types an a as well, so that two paths lead to one screen; nothing ends an episode."""

    def candidates(self) -> Sequence[Action]:
        return [action for action in super().candidates() if action != OPEN]

    def step(self, action: Action) -> StepResult:
        return super().step(press("a") if action == press("b") else action)


@pytest.mark.parametrize("seed", range(6))
def test_run_commits_a_path_over_a_merged_step(seed: int) -> None:
    search = Search(
        ConstantScorer(),
        num_simulations=200,
        policy="puct",
        max_depth=4,
        greedy_first=False,
        seed=seed,
    )

    result = search.run(Mirrored(), "endless", seed=7)

    assert result.committed_by == "visits"
    assert any(node.is_merged for node in result.nodes)
    node, names = 0, []
    while below := [n for n in result.nodes if n.parent == node and n.is_chosen]:
        (step,) = below
        names.append(step.action)
        node = step.merged_with if step.is_merged else step.id
    assert names == [str(action) for action in result.actions]
    assert len(names) == 4


def test_run_marks_the_greedy_ending_and_what_leads_nowhere() -> None:
    result, _ = solve(CodeScorer(blind=True), num_simulations=60)

    greedy = [node for node in result.nodes if node.is_greedy]
    assert [node.action for node in greedy] == [str(OPEN)]
    assert greedy[0].parent == 0
    closed = {node.action for node in result.nodes if node.is_closed}
    assert closed == {str(NOTHING), str(BROKEN)}
    assert result.committed_by == "ending"
    assert result.score_range == (0.0, 1.0)


def test_merged_steps_name_the_step_that_is_explored() -> None:
    result = Search(ConstantScorer(), num_simulations=100, max_depth=3).run(
        Mirrored(), "endless", seed=7
    )

    merged = [node for node in result.nodes if node.is_merged]
    assert merged
    for node in merged:
        assert result.nodes[node.merged_with].text == node.text
        assert not result.nodes[node.merged_with].is_merged
    assert {node.merged_with for node in result.nodes if not node.is_merged} == {-1}
