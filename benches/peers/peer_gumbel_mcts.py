"""gumbel-mcts 0.2.0: `PUCT`, selection and backup compiled by numba, compilation not timed.

It batches over trees, one leaf of each tree a call; the model is called through torch tensors,
which takes most of the time of a model that costs nothing, so its kernels are timed alone too. All
arrays are made at the start for as many nodes as will be needed, which is not timed; statistics are
float64. It is for two players, so a value changes its sign at every level. The step and the mask of
the game are compiled too; boards hold the hash of the path and the depth.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gumbel_mcts import PUCT
from kernels.puct_kernels import backpropagate_batch, select_leaves_batch
from numba import njit
from numpy.typing import NDArray
from work import MAX_DEPTH, ROOT, exploration

PACKAGES = ("gumbel-mcts", "numba", "torch", "numpy")
STEP = np.uint64(ROOT)
Step = tuple[float, int, bool, NDArray[np.int64]]
MIX = np.uint64(0xBF58476D1CE4E5B9)


@njit
def fast_step(board: NDArray[np.int64], action: int, _player: int) -> Step:
    """Extends the path, in place."""
    mixed = np.uint64(board[0]) + np.uint64(action + 1) * STEP
    mixed = (mixed ^ (mixed >> np.uint64(30))) * MIX
    mixed = mixed ^ (mixed >> np.uint64(27))
    board[0] = np.int64(mixed)
    board[1] += 1
    return 0.0, 0, board[1] >= MAX_DEPTH, board


class Logic:
    """A game whose positions are paths."""

    BOARD_SHAPE = (2,)
    BOARD_DTYPE = np.int64
    MAX_MOVES = MAX_DEPTH
    PLAYER_1 = 1
    PLAYER_2 = 2

    def __init__(self, branching: int) -> None:
        self.NUM_ACTIONS = self.MAX_LEGAL_MOVES = branching
        legal = np.ones(branching, np.float32)
        self.fast_step = fast_step
        self.get_valid_mask = njit(lambda _board, _player: legal)


class Model:
    """Uniform priors, and a value from the upper bits of the path."""

    def __init__(self, trees: int, branching: int) -> None:
        self.policy = torch.full((trees, branching), 1 / branching)

    def forward_for_mcts(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        boards = batch["boards"]
        return {"policy": self.policy[: len(boards)], "value": boards[:, 0] * 2.0**-63}


def new_search(trees: int, branching: int, num_simulations: int) -> Any:  # noqa: ANN401  # no types
    """A search with room for all nodes, and what starts it anew."""
    torch.set_num_threads(1)
    search = PUCT(trees, trees * (num_simulations + 2) + 2, Logic(branching), device="cpu")
    boards = np.tile(np.array([ROOT - (1 << 64), 0], np.int64), (trees, 1))
    players = np.ones(trees, np.int8)

    def start() -> None:
        search.reset()
        search.initialize_roots(range(trees), boards, players)

    return search, start


def searcher(trees: int, branching: int, num_simulations: int) -> Callable[[], object]:
    """What runs whole searches; see `worker.py`."""
    search, start = new_search(trees, branching, num_simulations)
    model = Model(trees, branching)
    games = list(range(trees))

    def run() -> object:
        start()
        search.run_simulation_batch(
            model, games, num_simulations, c_puct_init=exploration(branching)
        )
        return search

    return run


def kernel_searcher(trees: int, branching: int, num_simulations: int) -> Callable[[], object]:
    """As `searcher` at its best: the compiled parts called directly, the model in numpy."""
    search, start = new_search(trees, branching, num_simulations)
    logic, held = search.logic, search.storage
    games = np.arange(trees, dtype=np.int32)

    def select() -> NDArray[np.int32]:
        return select_leaves_batch(
            logic.fast_step,
            logic.get_valid_mask,
            branching,
            logic.PLAYER_1,
            logic.PLAYER_2,
            games,
            held.root_indices,
            held.children,
            held.visit_counts,
            held.values,
            held.prior_probs,
            held.is_expanded,
            held.is_terminal,
            held.terminal_values,
            held.boards,
            held.players,
            held.parents,
            held.edge_from_parent,
            search.next_free_idx_arr,
            19652.0,
            exploration(branching),
            search.max_nodes,
            held.depths,
            logic.MAX_MOVES,
        )

    def run() -> object:
        start()
        leaves = held.root_indices
        for _ in range(num_simulations + 1):  # the first one is the roots' own
            values = held.boards[leaves, 0] * 2.0**-63
            held.is_expanded[leaves] = True
            held.prior_probs[leaves] = 1 / branching
            backpropagate_batch(leaves, values, held.parents, held.visit_counts, held.values)
            leaves = select()
        return search

    return run


def visits(result: Any) -> list[int]:  # noqa: ANN401  # a class without types
    """Completed simulations of each tree."""
    return [int(counts.sum()) for counts in result.get_all_root_visits()]


def nbytes(result: Any) -> int:  # noqa: ANN401  # as above
    """What the arrays hold, used or not."""
    arrays = vars(result.storage).values()
    return sum(array.nbytes for array in arrays if isinstance(array, np.ndarray))
