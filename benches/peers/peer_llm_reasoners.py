"""llm-reasoners 1.0.2: its `MCTS`, for information.

An iteration goes on from the leaf down to the depth limit, expanding as it goes, so it makes up to
12 nodes and evaluates as many steps; all rewards of a node are kept and averaged anew at every
visit. UCT, without priors, in numpy scalars.
"""

from collections.abc import Callable
from typing import Any

from reasoners import SearchConfig, WorldModel
from reasoners.algorithm import MCTS
from work import MAX_DEPTH, ROOT, exploration, extend, value

PACKAGES = ("llm-reasoners",)


class Paths(WorldModel):
    """States are paths."""

    def init_state(self) -> int:
        return ROOT

    def step(self, state: int, action: int) -> tuple[int, dict[str, Any]]:
        return extend(state, action), {}

    def is_terminal(self, _state: int) -> bool:
        return False


class Actions(SearchConfig):
    """The same actions everywhere; a step is worth the value of its path."""

    def __init__(self, branching: int) -> None:
        super().__init__()
        self.branching = branching

    def get_actions(self, _state: int) -> list[int]:
        return list(range(self.branching))

    def reward(self, state: int, action: int, **_details: float) -> tuple[float, dict[str, Any]]:
        return value(extend(state, action)), {}


def searcher(trees: int, branching: int, num_simulations: int) -> Callable[[], object]:
    """What runs whole searches; see `worker.py`."""

    def run() -> list[Any]:
        results = []
        for _ in range(trees):
            algorithm = MCTS(
                w_exp=exploration(branching),
                depth_limit=MAX_DEPTH,
                n_iters=num_simulations,
                cum_reward=lambda rewards: rewards[-1],
                output_strategy="last_iter",
            )
            results.append(algorithm(Paths(), Actions(branching)))
        return results

    return run


def visits(result: list[Any]) -> list[int]:
    """Completed simulations of each tree."""
    return [len(found.tree_state.cum_rewards) for found in result]
