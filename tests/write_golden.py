"""Writes `tests/golden/*.json`: calls of a search, and the whole tree that they must give.

The trees come from the plain-Python reference, never from the core. Run
`python tests/write_golden.py` after a change of the rules, and review the difference.
"""

import json
import random
from dataclasses import asdict
from pathlib import Path as File
from typing import Any

import numpy as np
from reference import Config, Path, ReferenceSearch, Row

GOLDEN = File(__file__).parent / "golden"

CASES: dict[str, tuple[Config, dict[str, Any]]] = {
    "puct_lazy": (Config(c_puct=6.0), {"eager": 0.0, "candidates": [2, 3, 4], "rounds": 30}),
    "puct_eager_max_range": (
        Config(backup="max", normalize=(-1.0, 1.0), fpu=-0.5, c_puct=3.0),
        {"eager": 1.0, "candidates": [1, 5, 8], "rounds": 16},
    ),
    "uct_depth_limit": (
        Config(policy="uct", max_depth=3, normalize=None, c_puct=3.0),
        {"eager": 0.3, "candidates": [4, 5], "rounds": 30},
    ),
    "wide_nodes": (
        Config(fpu="parent", c_puct=8.0),
        {"eager": 0.5, "candidates": [12, 30, 40], "rounds": 12},
    ),
    "advance_and_fail": (
        Config(max_depth=5, c_puct=6.0),
        {"eager": 0.3, "candidates": [4, 5], "fail": 0.3, "advance": 0.1, "rounds": 40},
    ),
}


class Recorder:
    """Draws calls, makes them on the reference and notes them down."""

    def __init__(self, config: Config, *, eager: float, candidates: list[int], seed: int) -> None:
        self.random = random.Random(seed)
        self.eager = eager
        self.counts = candidates
        root = self.row((), must_expand=True)
        self.search = ReferenceSearch(config, root)
        self.document: dict[str, Any] = {
            "config": asdict(config),
            "root": asdict(root),
            "steps": [],
        }

    def number(self, low: float, high: float) -> float:
        return float(np.float32(self.random.uniform(low, high)))

    def row(self, path: Path, *, must_expand: bool) -> Row:
        row = Row(path, value=self.number(-1, 1))
        if path and self.random.random() < 0.02:
            row.terminal = True
        elif must_expand or self.random.random() < self.eager:
            row.candidates = count = self.random.choice(self.counts)
            row.priors = [self.number(0, 1) for _ in range(count)]
            row.first_values = [self.number(-1, 1) for _ in range(count)]
        return row

    def note(self, **step: Any) -> None:  # noqa: ANN401  any JSON
        self.document["steps"].append(step)

    def ask(self) -> None:
        num_simulations = self.random.randint(1, 24)
        asked = self.search.ask(num_simulations)
        leaves = [
            {"path": path, "kind": kind, "multiplicity": visits}
            for path, (kind, visits) in sorted(asked.leaves.items())
        ]
        self.note(ask=num_simulations, leaves=leaves, num_completed=asked.num_completed)

    def answer(self, fail: float) -> None:
        leaves = self.search.open_leaves()
        self.random.shuffle(leaves)
        leaves = leaves[: self.random.randint(1, len(leaves))]
        if self.random.random() < fail:
            self.search.fail(leaves)
            self.note(fail=leaves)
            return
        rows = []
        for path in leaves:
            is_expanding = self.search.edge(path).state == "expanding"
            rows.append(self.row(path, must_expand=is_expanding))
        self.search.tell(rows)
        self.note(tell=[asdict(row) for row in rows])

    def advance(self) -> None:
        edges = self.search.nodes[()]
        action = max(range(len(edges)), key=lambda index: edges[index].visits)
        if edges[action].state == "terminal":
            return
        row = None
        if edges[action].state != "expanded":
            row = self.row((), must_expand=True)
        self.search.advance(action, row)
        self.note(advance=action, row=None if row is None else asdict(row))

    def finish(self) -> dict[str, Any]:
        table = sorted(self.search.table().items())
        self.document["nodes"] = [{"path": path, "edges": edges} for path, edges in table]
        return self.document


def record(name: str) -> dict[str, Any]:
    config, options = CASES[name]
    fail, advance = options.get("fail", 0.0), options.get("advance", 0.0)
    recorder = Recorder(
        config, eager=options["eager"], candidates=options["candidates"], seed=len(name)
    )
    for _ in range(options["rounds"]):
        recorder.ask()
        while recorder.search.open_leaves() and recorder.random.random() < 0.7:
            recorder.answer(fail)
        if recorder.random.random() < advance:
            recorder.advance()
    return recorder.finish()


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for case in CASES:
        text = json.dumps(record(case), separators=(",", ":"))
        (GOLDEN / f"{case}.json").write_text(text + "\n", encoding="utf-8")
