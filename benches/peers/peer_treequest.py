"""treequest 0.3.3: `StandardMCTS` (UCT weighted by a softmax of scores) and `ABMCTSA`.

Both call a Python function a sample and expect scores in [0, 1]; actions are dictionary keys, so
one of each name is a branch. `StandardMCTS` visits a node's actions one after another before it
selects again, and sorts all nodes at every step. `ABMCTSA` decides by Thompson sampling whether to
widen or to deepen. Neither has priors, a depth limit or batches inside of a tree that steer.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import treequest
from work import ROOT, exploration, extend, value

PACKAGES = ("treequest",)


def generate(action: int, parent: int | None) -> tuple[int, float]:
    """The path behind an action, and its score in [0, 1]."""
    path = extend(ROOT if parent is None else parent, action)
    return path, (value(path) + 1) / 2


def run_steps(algorithm: Any, branching: int, num_simulations: int) -> Any:  # noqa: ANN401  # no types
    """One search."""
    actions = {f"click {action}": partial(generate, action) for action in range(branching)}
    state = algorithm.init_tree()
    for _ in range(num_simulations):
        state = algorithm.step(state, actions, inplace=True)
    return state


def searcher(trees: int, branching: int, num_simulations: int) -> Callable[[], object]:
    """What runs whole searches; see `worker.py`."""
    algorithm = treequest.StandardMCTS(
        samples_per_action=1, exploration_weight=exploration(branching)
    )
    return lambda: [run_steps(algorithm, branching, num_simulations) for _ in range(trees)]


def adaptive_searcher(trees: int, branching: int, num_simulations: int) -> Callable[[], object]:
    """As `searcher`, with adaptive branching."""
    algorithm = treequest.ABMCTSA()

    def run() -> list[Any]:
        np.random.seed(0)  # noqa: NPY002  # the package draws from numpy's global state
        return [run_steps(algorithm, branching, num_simulations) for _ in range(trees)]

    return run


def visits(result: list[Any]) -> list[int]:
    """Completed simulations of each tree."""
    return [len(state.tree) - 1 for state in result]
