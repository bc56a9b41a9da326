"""Writes `tests/golden/*.json`: calls of a search, and the whole tree that they must give.

The trees come from the plain-Python reference, never from the core. Run
`python tests/write_golden.py` after a change of the rules, and review the difference.
"""

import json
import random
from dataclasses import asdict
from pathlib import Path as File
from typing import Any

from reference import Refused
from walks import Walk, make

GOLDEN = File(__file__).parent / "golden"
CALLS = ["ask"] * 2 + ["answer"] * 3
"""What a case calls, where it names nothing else."""

CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "puct_lazy": ({"c_puct": 6.0}, {"counts": [2, 3, 4], "eager": 0.0}),
    "puct_eager_max_range": (
        {"backup": "max", "normalize": (-1.0, 1.0), "fpu": -0.5, "c_puct": 3.0},
        {"counts": [1, 5], "eager": 1.0},
    ),
    "puct_virtual_loss_collisions": (
        {"c_puct": 2.0, "virtual_loss": 3, "max_collisions": 1},
        {"counts": [2, 3, 4]},
    ),
    "uct_depth_limit": (
        {"policy": "uct", "max_depth": 3, "normalize": None, "c_puct": 3.0},
        {"counts": [4, 5]},
    ),
    "wide_nodes": ({"fpu": "parent", "c_puct": 8.0}, {"counts": [12, 30], "eager": 0.2}),
    "advance_and_fail": (
        {"max_depth": 5, "c_puct": 6.0},
        {"counts": [4, 5], "fails": 0.3, "calls": [*CALLS, *CALLS, "advance"]},
    ),
    "gumbel_plans": (
        {"policy": "gumbel", "max_considered": 6, "num_simulations": 24, "c_visit": 5.0},
        {"counts": [3, 8], "calls": [*CALLS, *CALLS, *CALLS, "plan", "advance"]},
    ),
    "best_first_edges": (
        {"policy": "best_first", "max_depth": 4},
        {"counts": [2, 4], "fails": 0.3, "calls": [*CALLS, "edge"], "most_asked": 6},
    ),
    "beam_levels": (
        {"policy": "beam", "beam_width": 3, "max_depth": 6},
        {"counts": [2, 4], "fails": 0.2, "most_asked": 6},
    ),
    "power_mean_merged": (
        {"backup": "power_mean", "exponent": 3.0, "c_puct": 4.0},
        {"counts": [2, 3], "num_keys": 6, "calls": [*CALLS, *CALLS, "advance"]},
    ),
    "discounted_solved": (
        {"backup": "discounted", "discount": 0.9, "solve": True, "max_depth": 5},
        {"counts": [2, 3], "ends": 0.3},
    ),
    "channels_reweighted": (
        {"channels": 3, "weights": (0.5, 0.25, 1.0), "c_puct": 3.0},
        {"counts": [2, 4], "calls": [*CALLS, *CALLS, "reweight"]},
    ),
    "gate_deterministic_memory": (
        {"channels": 5, "deterministic": True, "max_nbytes": 6000, "c_puct": 3.0},
        {"counts": [2, 4], "calls": [*CALLS, *CALLS, "advance", "reweight"]},
    ),
}


def record(name: str) -> dict[str, Any]:
    """The calls of a case, what each `ask` gives, and the tree in the end."""
    settings, options = CASES[name]
    walk = Walk(random.Random(len(name)), settings, **{"calls": CALLS, "ends": 0.02, **options})
    steps: list[dict[str, Any]] = []
    while len(steps) < 50 and not walk.search.is_exhausted:
        if len(steps) == 30:
            walk.calls = CALLS  # so that every case ends with a tree that has grown
        call = walk.call()
        try:
            asked = make(walk.search, call)
        except Refused:
            continue
        steps.append(call)
        if asked is not None:
            leaves = [
                {"path": path, "kind": kind, "multiplicity": visits}
                for path, (kind, visits) in asked.leaves.items()
            ]
            steps[-1] |= {"leaves": leaves, "num_completed": asked.num_completed}
    table = sorted(walk.search.table().items())
    return {
        "config": walk.config.to_dict(),
        "root": asdict(walk.root),
        "steps": steps,
        "best_action": walk.search.best_action(),
        "nodes": [{"path": path, "edges": edges} for path, edges in table],
    }


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for case in CASES:
        text = json.dumps(record(case), separators=(",", ":"))
        (GOLDEN / f"{case}.json").write_text(text + "\n", encoding="utf-8")
