"""What is timed: which search, how many trees, how many simulations, and what is asked of ours."""

from dataclasses import dataclass

OURS_RUST = "similar-fast from Rust"
OURS_PYTHON = "similar-fast from Python"
KERNELS = "gumbel-mcts, its kernels alone"


@dataclass(frozen=True)
class Arm:
    """One search at one size.

    Attributes:
        name: The search, as the table says it.
        module: The adapter; None for the Rust example.
        trees: Trees searched side by side.
        num_simulations: Of each tree.
        required: How many times as fast ours should be from Python; None where it is for
            information.
        searcher: The adapter's function.
    """

    name: str
    module: str | None
    trees: int
    num_simulations: int
    required: float | None = None
    searcher: str = "searcher"

    @property
    def size(self) -> tuple[int, int]:
        """Trees, and simulations of each."""
        return self.trees, self.num_simulations


OURS = [
    Arm(name, module, *size)
    for size in [(1, 100), (1, 1_000), (1, 10_000), (1, 100_000), (32, 1_000), (32, 10_000)]
    for name, module in [(OURS_RUST, None), (OURS_PYTHON, "ours_python")]
]

PEERS = [
    Arm("Python by hand", "hand_python", 1, 1_000, 25),
    Arm("Python by hand", "hand_python", 1, 10_000, 25),
    Arm("Python by hand", "hand_python", 1, 100_000, 25),
    Arm("LightZero", "peer_lightzero", 1, 1_000, 20),
    Arm("LightZero", "peer_lightzero", 1, 10_000, 20),
    Arm("LightZero", "peer_lightzero", 1, 100_000, 20),
    Arm("LightZero", "peer_lightzero", 32, 1_000, 10),
    Arm("LightZero", "peer_lightzero", 32, 10_000, 10),
    Arm("open_spiel, Python MCTSBot", "peer_open_spiel", 1, 1_000, 40),
    Arm("open_spiel, Python MCTSBot", "peer_open_spiel", 1, 10_000, 40),
    Arm("treequest, StandardMCTS", "peer_treequest", 1, 1_000, 150),
    Arm("treequest, StandardMCTS", "peer_treequest", 1, 10_000, 1_500),
    Arm("treequest, ABMCTSA", "peer_treequest", 1, 100, searcher="adaptive_searcher"),
    Arm("mctx", "peer_mctx", 1, 1_000, 100),
    Arm("mctx", "peer_mctx", 1, 10_000, 100),
    Arm("mctx", "peer_mctx", 32, 1_000),
    Arm("gumbel-mcts, PUCT", "peer_gumbel_mcts", 32, 1_000, 4),
    Arm("gumbel-mcts, PUCT", "peer_gumbel_mcts", 32, 10_000, 4),
    Arm(KERNELS, "peer_gumbel_mcts", 32, 1_000, 4, searcher="kernel_searcher"),
    Arm(KERNELS, "peer_gumbel_mcts", 32, 10_000, 4, searcher="kernel_searcher"),
    Arm("llm-reasoners", "peer_llm_reasoners", 1, 1_000),
]
