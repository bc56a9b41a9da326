"""An agent's search: a scorer, a proposer and an environment around a `TreeSearch`.

A node is a screen reached by a sequence of actions; an edge is a candidate action on it. One
simulation selects an edge, restores its screen (replay of the prefix, one new step), proposes the
candidates of that screen and scores all of them in one scorer call. The scores enter as priors and
first values of the new edges; what goes up the tree is named by `backup_value`.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Literal
from weakref import WeakKeyDictionary

from similar_fast.default_scorer import open_default_scorer
from similar_fast.protocols import Environment, Proposer, Scorer
from similar_fast.scoring import candidate_steps, ranked, reweighted, score_steps
from similar_fast.search.run import Run
from similar_fast.search.settings import CancelledRunError, RunPolicy, RunSettings, SearchProgress
from similar_fast.types import Action, Observation, Ranked, SearchResult

__all__ = ["CancelledRunError", "Search", "SearchProgress"]


class Search:
    """Searches for the actions that solve a task, guided by a scorer.

    The environment's success is never read before the actions are committed; what the result
    reports as success comes from one final run of the committed actions on a fresh reset.

    Args:
        scorer: Scores steps; higher is better. None takes the one that an installed package offers
            (see `similar_fast.default_scorer`): similar-mini, where similar-fast-mini is installed.
            A `Scorer` with an attribute `scale = (low, high)` has its scores normalised by it, any
            other by the least and greatest score of the tree.
        proposer: Proposes the candidates of a screen; None takes the environment's own.
        num_simulations: Simulations at most, in [1, inf).
        max_batch_size: Screens that are selected and scored together, in [1, inf). Batches grow
            with the tree (a quarter of the simulations so far), since the first ones steer most.
        seed: Orders candidates whose scores tie, and seeds `abmcts`; nothing else is random.
        budget: Environment steps at most, replays included; None for no limit.
        max_seconds: Wall time after which no further batch begins; None for no limit.
        max_scorer_calls: Calls of the scorer after which no further batch begins; the first screen
            always takes one. None for no limit.
        max_depth: Actions in one episode at most, in [1, 65535).
        policy: How an edge is selected; see `TreeSettings` for `puct`, `uct`, `gumbel`,
            `best_first` and `beam`, and `AdaptiveSearch` for `abmcts` and `widening`, which take up
            a screen's candidates one by one. `auto` is `gumbel` for up to 200 simulations, `puct`
            for more.
        c_puct: Weight of exploration, for values normalised to [0, 1].
        beam_width: Of `beam`, steps of a level that are visited at most.
        backup: What an edge keeps of the values behind it: their `mean` or their `max`.
        backup_value: What a simulation sends up: the `edge`'s own score, the best score at the new
            `screen`, or the mean of the two (`mix`).
        weights: `[5]`, what the dimensions count in a step's total, in the order of `DIMENSIONS`;
            None takes the scorer's own total.
        prior_temperature: Priors are softmax(z / temperature) of the scores' z-scores on a screen.
        greedy_first: Walks a greedy path before anything else: the best candidate of each screen,
            ties as proposed. Unlike a greedy agent it steps back from what leads nowhere, which
            costs replays. Not in `abmcts` and `widening`.
        greedy_margin: How much better than the greedy ending another ending must be to be
            committed instead, as a share of the range of all scores seen; 0 for any.
        ending_value: What an explored path that ended its episode is worth: the score of its
            `last` action, or the `mean` of its actions' scores.
        commit: `ending` commits the explored ending of the greatest value; `visits` the most
            visited path where it ends the episode, else as `ending`. Where no ending was reached
            both commit the most visited path.
        merge: Whether a screen that was reached before, by its digest, is one state: it is explored
            once, and costs no further model call and no further steps.
        solve: Whether steps that are known to all their ends get no more simulations.
        early_stop: Whether the search ends when nothing is left to visit or, where `visits` are
            committed without `solve`, when the simulations that are left cannot change the first
            action.
        max_nbytes: Bytes that the tree may take in the core; None for no limit.
        screenshots: Takes a picture of each screen, for the scorer and for the report.
        max_concurrency: Searches that `arun` runs at the same time; the others wait. None for no
            limit.

    Raises:
        ModelError: No scorer was passed and none, or more than one, is offered.
        ValueError: A setting is outside of its range.

    Example:
        ```python
        search = Search(num_simulations=64, seed=0)
        with MiniWob() as env:
            result = search.run(env, task="login-user", seed=2000)
        ```
    """

    def __init__(
        self,
        scorer: Scorer | None = None,
        *,
        proposer: Proposer | None = None,
        num_simulations: int = 64,
        max_batch_size: int = 16,
        seed: int = 0,
        budget: int | None = None,
        max_seconds: float | None = None,
        max_scorer_calls: int | None = None,
        max_depth: int = 8,
        policy: RunPolicy = "auto",
        c_puct: float = 1.0,
        beam_width: int = 8,
        backup: Literal["mean", "max"] = "mean",
        backup_value: Literal["edge", "screen", "mix"] = "mix",
        weights: tuple[float, float, float, float, float] | None = None,
        prior_temperature: float = 1.0,
        greedy_first: bool = True,
        greedy_margin: float = 0.1,
        ending_value: Literal["last", "mean"] = "mean",
        commit: Literal["ending", "visits"] = "ending",
        merge: bool = True,
        solve: bool = True,
        early_stop: bool = True,
        max_nbytes: int | None = None,
        screenshots: bool = False,
        max_concurrency: int | None = None,
    ) -> None:
        if max_concurrency is not None and max_concurrency < 1:
            raise ValueError(f"max_concurrency must be at least 1, got {max_concurrency}")
        self._max_concurrency = max_concurrency
        self._turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = (
            WeakKeyDictionary()
        )
        self._scorer = open_default_scorer() if scorer is None else scorer
        self._proposer = proposer
        self._settings = RunSettings(
            num_simulations=num_simulations,
            max_batch_size=max_batch_size,
            seed=seed,
            budget=budget,
            max_seconds=max_seconds,
            max_scorer_calls=max_scorer_calls,
            max_depth=max_depth,
            policy=policy,
            c_puct=c_puct,
            beam_width=beam_width,
            backup=backup,
            backup_value=backup_value,
            weights=weights,
            prior_temperature=prior_temperature,
            greedy_first=greedy_first,
            greedy_margin=greedy_margin,
            ending_value=ending_value,
            commit=commit,
            merge=merge,
            solve=solve,
            early_stop=early_stop,
            max_nbytes=max_nbytes,
            screenshots=screenshots,
        )

    def run(
        self,
        env: Environment | Iterable[Environment],
        task: str,
        *,
        seed: int,
        progress: Callable[[SearchProgress], None] | None = None,
        stop: threading.Event | None = None,
    ) -> SearchResult:
        """Searches one task and runs what it found.

        Args:
            env: Where the task is done; used by this call alone until it returns. Several are used
                side by side, a thread each. The result does not depend on how many, unless a
                `budget` of steps or a time ends the search.
            task: The environment's name of the task.
            seed: The task's seed.
            progress: Called after each step of the greedy walk and each batch of simulations, in
                the calling thread.
            stop: Another thread sets it to stop the search before its next step.

        Raises:
            CancelledRunError: `stop` was set.
            EnvError: The environment failed and could not be brought back.
            ScorerError: The scorer raised, or its answer does not fit.
        """
        return self._run(env, task, seed, progress, stop or threading.Event())

    async def arun(
        self,
        env: Environment | Iterable[Environment],
        task: str,
        *,
        seed: int,
        progress: Callable[[SearchProgress], None] | None = None,
    ) -> SearchResult:
        """As `run`, in a thread of its own; cancelling it stops the search before its next step.

        Several searches may be awaited together, each with an environment of its own; of those of
        one event loop `max_concurrency` run at a time. `progress` is called in the search's thread.
        """
        async with self._turn():
            return await self._arun(env, task, seed, progress)

    def _turn(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Waits until fewer than `max_concurrency` searches run in this event loop."""
        if self._max_concurrency is None:
            return contextlib.nullcontext()
        loop = asyncio.get_running_loop()
        return self._turns.setdefault(loop, asyncio.Semaphore(self._max_concurrency))

    async def _arun(
        self,
        env: Environment | Iterable[Environment],
        task: str,
        seed: int,
        progress: Callable[[SearchProgress], None] | None,
    ) -> SearchResult:
        stop = threading.Event()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[SearchResult] = loop.create_future()

        def work() -> None:
            try:
                result = self._run(env, task, seed, progress, stop)
            except BaseException as error:  # noqa: BLE001 - the awaiting task raises it
                deliver, what = done.set_exception, error
            else:
                deliver, what = done.set_result, result  # type: ignore[assignment]  # as above
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(deliver, what)

        threading.Thread(target=work, name="similar-fast-arun", daemon=True).start()
        try:
            return await asyncio.shield(done)
        except asyncio.CancelledError:
            stop.set()
            # The environment is free for its next user only once the thread has let it go, however
            # often this is cancelled meanwhile; what the thread ends with is of no more use.
            while not done.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([done])
            done.exception()
            raise

    def rank(
        self,
        observation: Observation,
        candidates: Sequence[Action] | None = None,
        *,
        history: Sequence[Action] = (),
    ) -> tuple[Ranked[Action], ...]:
        """Best-of-N without look-ahead: the candidates of one screen, best first.

        Args:
            observation: The screen.
            candidates: The actions to compare; None asks the proposer.
            history: The actions so far, oldest first.

        Returns:
            One entry a candidate; equal scores keep the candidates' order.

        Raises:
            ValueError: Neither candidates nor a proposer are there.
            ScorerError: The scorer raised, or its answer does not fit.
        """
        if candidates is None:
            if self._proposer is None:
                raise ValueError("rank needs candidates, or a Search made with a proposer")
            candidates = self._proposer.propose(observation, history)
        scores = score_steps(self._scorer, candidate_steps(observation, candidates, history))
        if self._settings.weights is not None:
            scores = reweighted(scores, self._settings.weights)
        return ranked(candidates, scores)

    def _run(
        self,
        env: Environment | Iterable[Environment],
        task: str,
        seed: int,
        progress: Callable[[SearchProgress], None] | None,
        stop: threading.Event,
    ) -> SearchResult:
        envs = list(env) if isinstance(env, Iterable) else [env]
        run = Run(self._settings, self._scorer, self._proposer, envs=envs, task=task, seed=seed)
        return run.execute(progress=progress, stop=stop)
