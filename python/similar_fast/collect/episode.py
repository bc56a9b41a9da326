"""One episode of MCTS-P: a task and a seed become labelled steps.

Rollouts from the start give the task's mean length. Then a search over the real environment, or a
greedy walk, decides at which states and actions more rollouts are played; all are filed, and every
action with enough of them becomes a record.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import numpy as np

from similar_fast.collect.candidates import sample_candidates
from similar_fast.collect.labels import (
    RolloutLabels,
    label_candidates,
    label_idle,
    odds_of_success,
)
from similar_fast.collect.policies import RolloutPolicy, ScoreCache
from similar_fast.collect.proxies import coherence, task_relevance
from similar_fast.collect.rollouts import Counts, Player
from similar_fast.collect.settings import CollectSettings, Target
from similar_fast.collect.trie import Edge, Path, State
from similar_fast.dimensions import DIMENSION_INFO, DIMENSIONS
from similar_fast.protocols import Environment
from similar_fast.search.screens import priors_from_scores
from similar_fast.tree.search import TreeSearch
from similar_fast.tree.settings import TreeSettings
from similar_fast.types import Action

__all__ = ["Episode", "LabelledStep", "collect_episode"]

Status = Literal["labelled", "skipped"]

_H, _OS, _E, _TR, _C = (DIMENSION_INFO[dimension].weight for dimension in DIMENSIONS)
_WEIGHTS = (_H, _OS, _E, _TR, _C)


@dataclass(frozen=True, slots=True)
class LabelledStep:
    """One labelled action of an episode.

    Attributes:
        path: The actions before it.
        action: The action.
        state: What was shown and offered.
        edge: Its rollouts.
        labels: What they say.
        task_relevance: By proxy, in {0, 1}.
        coherence: By proxy, in {0, 1}.
    """

    path: Path
    action: Action
    state: State
    edge: Edge
    labels: RolloutLabels
    task_relevance: float
    coherence: float

    @property
    def values(self) -> tuple[float, float, float, float, float]:
        """The five labels in the order of `DIMENSIONS`."""
        found = self.labels
        return (
            found.helpfulness,
            found.odds_of_success,
            found.efficiency,
            self.task_relevance,
            self.coherence,
        )

    @property
    def total(self) -> float:
        """The weighted sum that labelled steps are compared by."""
        return sum(weight * value for weight, value in zip(_WEIGHTS, self.values, strict=True))


@dataclass(frozen=True, slots=True)
class Episode:
    """What an episode gave.

    Attributes:
        task: The environment's name of the task.
        seed: The task's seed.
        status: `labelled`, or `skipped` where no rollout from the start reached the goal.
        success: Whether the greedy walk reached the goal; None in a tree.
        walked: The greedy walk's actions; none in a tree.
        mean_length: M, in actions; NaN where it was skipped.
        steps: The labelled actions, state by state.
        counts: What they cost.
        seconds: Wall time.
    """

    task: str
    seed: int
    status: Status
    success: bool | None
    walked: Path
    mean_length: float
    steps: tuple[LabelledStep, ...]
    counts: Counts
    seconds: float


def collect_episode(
    env: Environment,
    task: str,
    *,
    seed: int,
    settings: CollectSettings,
    cache: ScoreCache,
    targets: Sequence[Target] = (),
) -> Episode:
    """Labels the steps of one episode.

    The same arguments give the same steps, in every environment that repeats itself.

    Args:
        env: The environment; its running episode ends.
        task: The environment's name of the task.
        seed: The task's seed.
        settings: How.
        cache: The scores by which rollouts are played and candidates picked; it is cleared.
        targets: The actions to label, and no others; none leaves the choice to `settings.mode`.

    Raises:
        EnvError: The environment fails again and again.
        ScorerError: The scorer failed.
    """
    started = time.perf_counter()
    cache.clear()
    collector = _Collector(env, task, seed, settings, cache)
    success = None
    walked: Path = ()
    lengths = collector.play_from_start()
    if lengths:
        if targets:
            collector.label_targets(targets)
        elif settings.mode == "tree":
            collector.search()
        else:
            walked, success = collector.walk()
    elif settings.mode == "greedy":
        success = False
    return Episode(
        task,
        seed,
        "labelled" if lengths else "skipped",
        success,
        walked,
        collector.mean_length,
        tuple(collector.labelled()),
        collector.player.counts,
        time.perf_counter() - started,
    )


class _Collector:
    """The state of one episode's collection."""

    def __init__(
        self, env: Environment, task: str, seed: int, settings: CollectSettings, cache: ScoreCache
    ) -> None:
        policy = RolloutPolicy(cache, temperature=settings.temperature, epsilon=settings.epsilon)
        self._settings = settings
        self._cache = cache
        self._only: set[tuple[Path, Action]] | None = None
        self._start = Edge()
        self.mean_length = float("nan")
        self.player = Player(
            env,
            task,
            seed=seed,
            policy=policy,
            max_steps=settings.max_steps,
            draws=settings.draws,
            budget=settings.budget,
        )
        self._trie = self.player.trie

    def play_from_start(self) -> list[int]:
        """The lengths of the successful rollouts from the start."""
        lengths: list[int] = []
        for number in range(self._settings.root_rollouts):
            if len(lengths) == self._settings.root_successes or self.player.is_spent:
                break
            found = self.player.rollout((), number=number)
            if found is None:
                continue
            if found.success:
                lengths.append(len(found.path))
            # The success that ends the play is left out, or the odds would be too high.
            if len(lengths) < self._settings.root_successes or not self._start.rollouts:
                self._start.file(success=found.success, remaining=len(found.path))
        if lengths:
            self.mean_length = sum(lengths) / len(lengths)
        return lengths

    def search(self) -> None:
        """Labels actions where a tree search over their labels goes."""
        settings = TreeSettings.five_dimensions(
            _WEIGHTS,
            policy="puct",
            c_puct=self._settings.c_puct,
            fpu="parent",
            solve=True,
            max_depth=self._settings.max_steps,
        )
        picked = self._pick(())
        if not picked:
            return
        tree = TreeSearch(picked, settings, priors=self._priors((), picked))
        while tree.num_simulations < self._settings.num_simulations:
            if self.player.is_spent or tree.is_exhausted:
                break
            leaves = tree.ask(1)
            for path in leaves.paths():
                *before, action = cast("list[Action]", path)
                self._tell(tree, leaves.ids, tuple(before), action)

    def _tell(self, tree: TreeSearch, ids: Any, path: Path, action: Action) -> None:  # noqa: ANN401  # the leaves' ids
        self._sample(path, action)
        edge = self._trie.edge(path, action)
        after = (*path, action)
        if edge.rollouts == 0 or (edge.is_idle and self._settings.idle == "label"):
            # It changed nothing or no replay held: nothing lies behind it.
            tree.tell(ids, np.array([self._worst(path)]), terminal=[True])
            return
        values = np.array([self._labelled_step(path, action).values])
        picked = self._pick(after)
        if not picked:
            tree.tell(ids, values, terminal=[True])
            return
        priors = self._priors(after, picked)
        tree.tell(ids, values, candidates=[picked], priors=[priors])

    def walk(self) -> tuple[Path, bool]:
        """Labels W candidates a step, goes on with the best; where to, and whether it is solved."""
        path: Path = ()
        while len(path) < self._settings.max_steps and not self.player.is_spent:
            picked = self._pick(path)
            for action in picked:
                self._sample(path, action)
            edges = {a: self._trie.edge(path, a) for a in picked}
            known = [a for a, edge in edges.items() if edge.rollouts and not edge.is_idle]
            if not known:
                break
            totals = [self._labelled_step(path, action).total for action in known]
            path = (*path, known[int(np.argmax(totals))])
        return path, self._trie[path].success

    def label_targets(self, targets: Sequence[Target]) -> None:
        """Labels these actions; every action on the way to them as well, for what came before."""
        self._only = set()
        for target in targets:
            path: Path | None = ()
            for text in target.history:
                path = None if path is None else self._follow(path, text)
            action = None if path is None else self._named(path, target.action)
            if path is None or action is None:
                self.player.counts.missing += 1
                continue
            self._sample(path, action)
            self._only.add((path, action))

    def _follow(self, path: Path, text: str) -> Path | None:
        """The path on by the action that is called `text`; None where it cannot be gone."""
        action = self._named(path, text)
        if action is None:
            return None
        self._sample(path, action, through_idle=True)
        after = (*path, action)
        return after if self._trie.edge(path, action).rollouts and after in self._trie else None

    def _named(self, path: Path, text: str) -> Action | None:
        """The candidate of a state that is called `text`."""
        return next((a for a in self._trie[path].candidates if str(a) == text), None)

    def _pick(self, path: Path) -> tuple[Action, ...]:
        """The candidates of a state that are labelled on purpose."""
        state = self._trie[path]
        if state.is_done or len(path) >= self._settings.max_steps or not state.candidates:
            return ()
        scores = self._cache.scores(state.observation, state.candidates, path)
        rng = self.player.rng("candidates", state.observation.digest, len(path))
        return sample_candidates(state.candidates, scores, width=self._settings.width, rng=rng)

    def _priors(self, path: Path, picked: tuple[Action, ...]) -> list[float]:
        state = self._trie[path]
        scores = self._cache.scores(state.observation, state.candidates, path)
        of = dict(zip(state.candidates, scores, strict=True))
        column = np.array([of[action] for action in picked], np.float32)
        priors: list[float] = priors_from_scores(column, temperature=1.0).tolist()
        return priors

    def _sample(self, path: Path, action: Action, *, through_idle: bool = False) -> None:
        """Plays rollouts of an action until it has enough, those that passed by included."""
        edge = self._trie.edge(path, action)
        edge.is_sampled = True
        for number in range(self._settings.rollouts):
            is_idle = edge.is_idle and not through_idle
            if is_idle or self._is_settled(edge) or self.player.is_spent:
                break
            self.player.rollout(path, action, number=number, through_idle=through_idle)
        if edge.is_idle:
            self.player.counts.idle += 1

    def _is_settled(self, edge: Edge) -> bool:
        if edge.is_final and edge.rollouts:
            return True
        agree = edge.successes in (0, edge.rollouts)
        enough = self._settings.min_rollouts if agree else self._settings.rollouts
        return edge.rollouts >= enough

    def labelled(self) -> Iterator[LabelledStep]:
        """Every action whose rollouts are enough: two, or one that ended the episode.

        One is enough as well where no more are asked for. For an action that changed nothing those
        of the action that led to its state count.
        """
        enough = min(2, self._settings.min_rollouts)
        if not self.mean_length > 0:
            return
        for path, state in self._trie.states.items():
            for action, edge in state.edges.items():
                if edge.is_idle and self._settings.idle == "skip":
                    continue
                known = self._known(path, edge)
                if known.rollouts < (1 if known.is_final else enough):
                    continue
                if self._only is not None and (path, action) not in self._only:
                    continue
                yield self._labelled_step(path, action)

    def _labelled_step(self, path: Path, action: Action) -> LabelledStep:
        state = self._trie[path]
        edge = state.edges[action]
        return LabelledStep(
            path,
            action,
            state,
            self._known(path, edge),
            self._labels(path, edge),
            task_relevance(self._trie, path, action),
            coherence(self._trie, path, action),
        )

    def _known(self, path: Path, edge: Edge) -> Edge:
        """The rollouts behind an action's labels: its own, or where it is idle its state's."""
        if not edge.is_idle or self._settings.idle == "skip":
            return edge
        before = self._trie[path[:-1]].edges[path[-1]] if path else self._start
        if before.is_idle:
            before = self._known(path[:-1], before)
        return replace(before, is_final=False, is_idle=True, is_sampled=edge.is_sampled)

    def _labels(self, path: Path, edge: Edge) -> RolloutLabels:
        before = self._before(path)
        if edge.is_idle and self._settings.idle == "label":
            return label_idle(self._at_start() if before is None else before)
        (labels,) = label_candidates(
            [edge.outcome],
            step=len(path) + 1,
            mean_length=self.mean_length,
            accumulated_before=0.0 if before is None else before.accumulated,
            remaining_before=None if before is None else before.remaining,
            rule=self._settings.rule,
        )
        return labels

    def _at_start(self) -> RolloutLabels:
        """What is known before the first action."""
        odds = odds_of_success(self._start.outcome)
        return RolloutLabels(0.0, odds, 0.0, accumulated=0.0, remaining=self.mean_length)

    def _before(self, path: Path) -> RolloutLabels | None:
        """The labels of the action that led to `path`; None at the start."""
        if not path:
            return None
        return self._labels(path[:-1], self._trie[path[:-1]].edges[path[-1]])

    def _worst(self, path: Path) -> tuple[float, float, float, float, float]:
        """What an action is told that leads nowhere: no success, no relevance, no coherence."""
        nothing = self._labels(path, Edge(rollouts=1))
        return (nothing.helpfulness, 0.0, nothing.efficiency, 0.0, 0.0)
