"""`explain`: why a search answers as it does, read off its tree.

Nothing is scored, visited or changed by it.
"""

from collections.abc import Callable, Sequence
from math import isfinite
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from similar_fast.dimensions import DIMENSIONS
from similar_fast.tree.adaptive import AdaptiveSearch
from similar_fast.tree.columns import Children
from similar_fast.tree.endings import RankedEnding, rank_endings
from similar_fast.tree.explanation import DecidedBy, Explanation, Option
from similar_fast.tree.search import TreeSearch
from similar_fast.tree.settings import channel_names
from similar_fast.types import SearchResult, SearchTreeNode

__all__ = ["explain", "explain_steps"]

_BEST_FIRST = ("best_first", "beam")


def explain(
    source: TreeSearch | AdaptiveSearch | SearchResult,
    *,
    step: int = 0,
    by: Literal["value", "visits"] = "value",
) -> Explanation:
    """Why the search answers as it does, and what more simulations could change.

    Args:
        source: A search in hand, which nobody changes meanwhile, or the result of a `Search`.
        step: Of a result the committed action to explain, from 0; a search in hand has only one.
        by: Of an `AdaptiveSearch` how its answer is chosen, see its `best`: the node of the highest
            own value, or the root's most visited child.

    Returns:
        The facts; `str()` of it tells them in sentences.

    Raises:
        ValueError: There is no such step, a result has no nodes, or `by` is neither.
        TypeError: `source` is something else.

    Example:
        >>> search = TreeSearch(["left", "right"], normalize=None)
        >>> while search.num_simulations < 20:
        ...     leaves = search.ask(1)
        ...     _ = search.tell(leaves, leaves.actions, candidates=[["on"]] * len(leaves))
        >>> why = explain(search)
        >>> why.chosen.name, why.runner_up.name, why.overtaken_after
        ('right', 'left', 4)
    """
    if isinstance(source, SearchResult):
        if not 0 <= step < max(1, len(source.actions)):
            raise ValueError(f"step must be in [0, {len(source.actions)}), got {step}")
        steps = _Steps(source)
        if len(steps) <= step:
            raise ValueError(
                f"the nodes mark {len(steps)} committed steps, there is no step {step}"
            )
        return steps.explain(step)
    if step != 0:
        raise ValueError(f"step must be 0 for a search in hand, got {step}")
    if isinstance(source, TreeSearch):
        return _explain_tree(source)
    if isinstance(source, AdaptiveSearch):
        return _explain_adaptive(source, by)
    raise TypeError(
        f"expected a TreeSearch, an AdaptiveSearch or a SearchResult, got {type(source).__name__}"
    )


def explain_steps(result: SearchResult) -> tuple[Explanation, ...]:
    """The explanation of every committed action that the nodes mark; one of none where none is.

    Raises:
        ValueError: The result has no nodes.
    """
    steps = _Steps(result)
    return tuple(steps.explain(step) for step in range(len(steps)))


def _explain_tree(search: TreeSearch) -> Explanation:
    settings = search.settings
    edges = search.children()
    options = _tree_options(search, edges)
    is_best_first = settings.policy in _BEST_FIRST
    decided_by: DecidedBy = "visits"
    if is_best_first:
        decided_by = "value"
    elif settings.policy == "gumbel":
        decided_by = "gumbel"
    chosen = options[search.best_action()]
    runner_up = _runner_up(options, chosen, _by_value if is_best_first else _by_visits)
    is_solved = settings.solve and bool(edges.solved.all()) and search.in_flight == 0
    has_ended = is_solved or (is_best_first and search.is_exhausted)
    lead = _lead(chosen, runner_up) if decided_by == "visits" and not settings.solve else 1
    return Explanation(
        kind="tree",
        policy=settings.policy,
        decided_by=decided_by,
        step=0,
        num_steps=1,
        num_simulations=search.num_simulations,
        chosen=chosen,
        runner_up=runner_up,
        num_options=len(options),
        unvisited=tuple(option.name for option in options if not option.visits),
        dim_names=channel_names(settings.channels),
        is_solving=settings.solve,
        is_exhausted=search.is_exhausted,
        overtaken_after=None if has_ended or runner_up is None else lead,
    )


def _tree_options(search: TreeSearch, edges: Children) -> list[Option]:
    told = search.told() if search.settings.channels else None
    weights = search.settings.weights
    total = int(edges.visits.sum())
    options = []
    for index, visits in enumerate(edges.visits.tolist()):
        dims = None if told is None else _dims(told[index])
        score = None
        if dims is not None and weights is not None:
            score = float(np.dot(dims, weights))
        candidate = None if edges.candidates is None else edges.candidates[index]
        options.append(
            Option(
                id=index,
                name=f"candidate {index}" if edges.candidates is None else str(candidate),
                visits=visits,
                share=visits / total if total else 0.0,
                value=float(edges.values[index]),
                prior=float(edges.priors[index]),
                score=score,
                dims=dims,
                is_solved=bool(edges.solved[index]),
            )
        )
    return options


def _dims(row: NDArray[np.float32]) -> tuple[float, ...] | None:
    """A row of numbers; None where one of them is not known."""
    return None if np.isnan(row).any() else tuple(row.tolist())


def _explain_adaptive(search: AdaptiveSearch, by: Literal["value", "visits"]) -> Explanation:
    answer = search.best(by=by)
    nodes = search.nodes()
    is_by_value = by == "value"
    if is_by_value:
        rows = np.flatnonzero(np.isfinite(nodes.values))
    else:
        rows = np.flatnonzero(nodes.parents == 0)
    total = int(nodes.visits[0]) if is_by_value else int(nodes.visits[rows].sum())
    options = [
        Option(
            id=row,
            name=f"node {row}" if nodes.candidates[row] is None else str(nodes.candidates[row]),
            visits=int(nodes.visits[row]),
            share=int(nodes.visits[row]) / total if total else 0.0,
            value=float(nodes.means[row]) if isfinite(nodes.means[row]) else None,
            prior=None,
            score=float(nodes.values[row]),
            dims=None,
        )
        for row in rows.tolist()
    ]
    chosen = None
    if answer is not None:
        first = answer if is_by_value else _child_above(nodes.parents, answer)
        chosen = next(option for option in options if option.id == first)
    key = _by_score if is_by_value else _by_visits
    runner_up = None if chosen is None else _runner_up(options, chosen, key)
    is_over = search.is_exhausted and search.num_open == 0
    lead = 1 if is_by_value or chosen is None else _lead(chosen, runner_up)
    return Explanation(
        kind="adaptive",
        policy=search.policy,
        decided_by="score" if is_by_value else "visits",
        step=0,
        num_steps=1,
        num_simulations=search.num_simulations,
        chosen=chosen,
        runner_up=runner_up,
        num_options=len(options),
        unvisited=(),
        dim_names=(),
        is_solving=False,
        is_exhausted=search.is_exhausted,
        overtaken_after=None if is_over else lead,
    )


def _child_above(parents: NDArray[np.int64], node: int) -> int:
    while parents[node] > 0:
        node = int(parents[node])
    return node


class _Steps:
    """The committed steps of a result, and what else could have been done at each."""

    def __init__(self, result: SearchResult) -> None:
        self._result = result
        self._ranked = rank_endings(result)
        self._behind: dict[int, RankedEnding] = {}
        for ending in self._ranked:
            node = ending.node
            while node > 0 and node not in self._behind:
                self._behind[node] = ending
                node = result.nodes[node].parent
        self._children: list[list[SearchTreeNode]] = [[] for _ in result.nodes]
        for it in result.nodes[1:]:
            self._children[it.parent].append(it)
        self._is_solved = all(it.visits > 0 and it.is_solved for it in self._children[0])
        self._has_greedy = any(it.is_greedy for it in result.nodes)
        self._screens = self._walk()

    def _walk(self) -> list[int]:
        """The node above each committed step that is marked; the root where there is none."""
        screens: list[int] = []
        node = 0
        for _ in self._result.actions:
            steps = [it for it in self._children[node] if it.is_chosen]
            if not steps:
                break
            screens.append(node)
            node = steps[0].merged_with if steps[0].is_merged else steps[0].id
        return screens or [0]

    def __len__(self) -> int:
        return len(self._screens)

    def explain(self, step: int) -> Explanation:
        result = self._result
        siblings = self._children[self._screens[step]]
        total = sum(it.visits for it in siblings)
        options = [self._option(it, total) for it in siblings]
        marked = [option for option, it in zip(options, siblings, strict=True) if it.is_chosen]
        chosen = marked[0] if marked else None
        key = _by_ending if result.committed_by == "ending" else _by_visits
        is_exhausted = result.stopped_by == "exhausted" or (
            self._is_solved and bool(self._children[0])
        )
        is_over = is_exhausted or result.stopped_by == "no candidates"
        return Explanation(
            kind="result",
            policy=result.policy,
            decided_by=result.committed_by,
            step=step,
            num_steps=len(result.actions),
            num_simulations=result.num_simulations,
            chosen=chosen,
            runner_up=None if chosen is None else _runner_up(options, chosen, key),
            num_options=len(options),
            unvisited=tuple(option.name for option in options if not option.visits),
            dim_names=channel_names(len(DIMENSIONS)),
            is_solving=False,
            is_exhausted=is_exhausted,
            overtaken_after=None if is_over or len(options) == 1 else 1,
            num_endings=len(self._ranked),
            ending_value=result.ending_value,
            greedy_margin=result.greedy_margin if self._has_greedy else 0.0,
            to_beat=self._ranked[0].total if self._ranked and result.commit == "ending" else None,
            stopped_by=result.stopped_by,
        )

    def _option(self, node: SearchTreeNode, total: int) -> Option:
        return Option(
            id=node.id,
            name=node.action,
            visits=node.visits,
            share=node.visits / total if total else 0.0,
            value=node.value if isfinite(node.value) else None,
            prior=node.prior,
            score=None if node.score is None else node.score.total,
            dims=None if node.score is None else node.score.dims,
            is_solved=node.is_solved and node.visits > 0,
            is_closed=node.is_closed,
            ending=self._behind.get(node.id),
        )


def _runner_up(
    options: Sequence[Option], chosen: Option, key: Callable[[Option], tuple[float, ...]]
) -> Option | None:
    others = [option for option in options if option.id != chosen.id]
    return max(others, key=key, default=None)


def _by_visits(option: Option) -> tuple[float, ...]:
    """The most visited; what leads nowhere comes last, as it is never committed."""
    value = -np.inf if option.value is None else option.value
    return (not option.is_closed, option.visits, value)


def _by_value(option: Option) -> tuple[float, ...]:
    return (option.visits > 0, -np.inf if option.value is None else option.value)


def _by_score(option: Option) -> tuple[float, ...]:
    return (-np.inf if option.score is None else option.score,)


def _by_ending(option: Option) -> tuple[float, ...]:
    """The best ending behind, then the shorter one; visits where there is none."""
    if option.ending is None:
        return (-np.inf, 0.0, *_by_visits(option))
    return (option.ending.total, -float(len(option.ending.actions)), *_by_visits(option))


def _lead(chosen: Option, runner_up: Option | None) -> int:
    """Simulations that the runner-up needs at least to have as many visits."""
    return max(1, chosen.visits - (0 if runner_up is None else runner_up.visits))
