"""open_spiel 2.0.2: the Python `MCTSBot`, with its PUCT rule and an evaluator in place of rollouts.

It clones the state at the root and replays the actions of every descent, shuffles new children, and
keeps float64. The game is a Python object with the methods that the bot calls. Paths of 12 actions
are terminal; solved states are not backed up. The first simulation evaluates the root.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyspiel
from open_spiel.python.algorithms.mcts import MCTSBot, SearchNode
from work import MAX_DEPTH, ROOT, exploration, extend, value

PACKAGES = ("open_spiel", "numpy")


class State:
    """A path: what `MCTSBot` needs of a state of a game for one player."""

    __slots__ = ("depth", "path")

    def __init__(self, path: int = ROOT, depth: int = 0) -> None:
        self.path = path
        self.depth = depth

    def clone(self) -> "State":
        return State(self.path, self.depth)

    def apply_action(self, action: int) -> None:
        self.path = extend(self.path, action)
        self.depth += 1

    def is_terminal(self) -> bool:
        return self.depth >= MAX_DEPTH

    def is_chance_node(self) -> bool:
        return False

    def current_player(self) -> int:
        return 0

    def returns(self) -> list[float]:
        return [value(self.path)]


class Evaluator:
    """Uniform priors, and the value of the path."""

    def __init__(self, branching: int) -> None:
        self.branching = branching

    def prior(self, _state: State) -> list[tuple[int, float]]:
        return [(action, 1 / self.branching) for action in range(self.branching)]

    def evaluate(self, state: State) -> list[float]:
        return [value(state.path)]


def searcher(trees: int, branching: int, num_simulations: int) -> Callable[[], object]:
    """What runs whole searches; see `worker.py`."""
    game = pyspiel.load_game("catch")  # only its type is asked for: terminal rewards, in turns

    def run() -> list[Any]:
        bots = [
            MCTSBot(
                game,
                exploration(branching),
                num_simulations,
                Evaluator(branching),
                solve=False,
                random_state=np.random.RandomState(seed),
                child_selection_fn=SearchNode.puct_value,
            )
            for seed in range(trees)
        ]
        return [bot.mcts_search(State()) for bot in bots]

    return run


def visits(result: list[Any]) -> list[int]:
    """Completed simulations of each tree."""
    return [root.explore_count for root in result]
