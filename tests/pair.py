"""The same calls on the reference and on the core, compared after each."""

from pathlib import Path as File
from typing import Any

import numpy as np
import pytest
from reference import Asked, Config, Path, ReferenceSearch, Refused, Row
from reference.state import bits
from similar_fast.errors import SearchError
from similar_fast.tree.columns import EdgeState, Leaves
from similar_fast.tree.search import TreeSearch
from walks import Call, make, row_of


class Pair:
    """Both searches, and the ids of the leaves that are open."""

    def __init__(self, reference: ReferenceSearch, root: Row, folder: File) -> None:
        self.reference = reference
        self.file = folder / "search.tree"
        self.core = TreeSearch(
            root.candidates or 0, reference.config, key=root.key, **self.candidates(root)
        )
        self.ids: dict[Path, int] = {}

    @property
    def config(self) -> Config:
        return self.reference.config

    def make(self, call: Call) -> Any:  # noqa: ANN401 - what the reference gives
        """Makes a call of both; both refuse it, or neither."""
        is_expanded = False
        if "advance" in call:
            edges = self.reference.nodes[()]
            is_expanded = edges[call["advance"]].state == "expanded"
        try:
            expected = make(self.reference, call)
        except Refused:
            with pytest.raises((SearchError, ValueError)):
                self.make_core(call, None, is_expanded=is_expanded)
            expected = None
        else:
            self.make_core(call, expected, is_expanded=is_expanded)
        self.check()
        return expected

    def make_core(self, call: Call, expected: Any, *, is_expanded: bool) -> None:  # noqa: ANN401
        match call:
            case {"ask": num_simulations}:
                self.compare(self.core.ask(num_simulations), expected)
            case {"edge": path, "action": action}:
                self.compare(self.core.ask_edge(self.node(tuple(path)), action), expected)
            case {"tell": rows}:
                self.tell([row_of(row) for row in rows])
            case {"fail": paths}:
                self.core.fail([self.ids.pop(tuple(path)) for path in paths])
            case {"advance": action, "row": row}:
                self.advance(action, row and row_of(row), is_expanded=is_expanded)
            case {"plan": num_simulations, "noise": noise}:
                self.core.plan(num_simulations, gumbel=noise)
            case {"reweight": weights}:
                self.core.reweight(weights)
            case {"save": _}:
                self.core.save(self.file)
                self.core = TreeSearch.load(self.file)

    def node(self, path: Path) -> int:
        node = self.core.root
        for step in path:
            node = int(self.core.children(node).nodes[step])
        return node

    def compare(self, leaves: Leaves, expected: Asked) -> None:
        paths = [tuple(int(str(action)) for action in path) for path in leaves.paths()]
        kinds = ["expand" if wants else "evaluate" for wants in leaves.wants_candidates]
        found = [*zip(paths, zip(kinds, leaves.multiplicities.tolist(), strict=True), strict=True)]
        assert found == list(expected.leaves.items())
        assert leaves.num_completed == expected.num_completed
        assert leaves.depths.tolist() == [len(path) for path in paths]
        self.ids |= dict(zip(paths, leaves.ids.tolist(), strict=True))

    def numbers(self, column: list[float] | None) -> np.ndarray | None:
        """A column of numbers by channel."""
        if column is None:
            return None
        flat = np.array(column, np.float32)
        return flat.reshape(-1, self.config.channels) if self.config.channels else flat

    def candidates(self, row: Row) -> dict[str, Any]:
        """What comes with the candidates of a root."""
        return {
            "priors": row.priors,
            "first_values": self.numbers(row.first_values),
            "first_weights": self.numbers(row.first_weights),
        }

    def tell(self, rows: list[Row]) -> None:
        def joined(columns: list[Any]) -> list[float] | None:
            given = [column for column in columns if column is not None]
            return [number for column in given for number in column] if given else None

        counts = [-1 if row.candidates is None else row.candidates for row in rows]
        numbers = joined([row.numbers for row in rows])
        nodes = self.core.tell(
            [self.ids[row.path] for row in rows],
            [row.value for row in rows] if numbers is None else self.numbers(numbers),
            weights=self.numbers(joined([row.weights for row in rows])),
            candidates=np.array(counts, dtype=np.int64),
            priors=None
            if rows[0].priors is None and not any(row.priors for row in rows)
            else np.array(joined([row.priors for row in rows]), np.float32),
            first_values=self.numbers(joined([row.first_values for row in rows])),
            first_weights=self.numbers(joined([row.first_weights for row in rows])),
            keys=[row.key for row in rows],
            terminal=[row.terminal for row in rows],
        )
        for row, node in zip(rows, nodes.tolist(), strict=True):
            del self.ids[row.path]
            if node >= 0:
                assert self.core.path(node) == row.path
            if not self.config.deterministic:
                assert (node >= 0) == (row.path in self.reference.nodes)

    def advance(self, action: int, row: Row | None, *, is_expanded: bool) -> None:
        before = self.core_paths()
        candidates = None if row is None else row.candidates
        given = {} if row is None else {"key": row.key, **self.candidates(row)}
        kept = self.core.advance(action, candidates=candidates, **given)
        after = self.core_paths()[: len(kept)]
        assert [before[old] for old in kept] == [(action, *path) for path in after]
        kept_ids = {path[1:]: leaf for path, leaf in self.ids.items() if path[0] == action}
        dropped = [leaf for path, leaf in self.ids.items() if path[0] != action or len(path) == 1]
        if not is_expanded:
            dropped = list(self.ids.values())
            kept_ids = {}
        self.ids = {path: leaf for path, leaf in kept_ids.items() if path}
        self.ignore(dropped)

    def ignore(self, dropped: list[int]) -> None:
        """Leaves outside of what is kept may be told once, and that does nothing."""
        if not dropped:
            return
        width = self.config.channels
        numbers = np.zeros((len(dropped), width) if width else len(dropped), np.float32)
        weights = numbers if self.config.is_gated else None
        counts = np.full(len(dropped), 2)
        nodes = self.core.tell(dropped, numbers, weights=weights, candidates=counts)
        assert set(nodes.tolist()) == {-1}
        with pytest.raises(SearchError, match="is finished"):
            self.core.fail(dropped)

    def check(self) -> None:
        reference, core = self.reference, self.core
        assert self.core_table() == reference.table()
        edges = reference.nodes[()]
        assert core.num_simulations == sum(edge.done for edge in edges)
        assert core.in_flight == reference.in_flight
        assert core.num_parked == sum(waiting for _, waiting in reference.parked)
        assert core.num_nodes == len(reference.nodes)
        assert core.num_open == len(reference.open_leaves()) == len(self.open_ids())
        assert core.is_full == reference.is_full
        assert core.is_exhausted == reference.is_exhausted
        assert core.best_action() == reference.best_action()
        assert core.principal_variation() == reference.principal_variation()
        for more in (0, 1, 20):
            assert core.is_decided(more) == reference.is_decided(more)
        assert self.core_paths() == list(reference.nodes)
        keys = list(reference.keys)
        found = [self.node(path) for path in reference.keys.values()]
        assert core.find(keys).tolist() == found
        if not self.ids and not reference.parked:
            assert core.in_flight == 0

    def open_ids(self) -> dict[Path, int]:
        return {
            path: leaf for path, leaf in self.ids.items() if not self.reference.edge(path).is_held
        }

    def core_paths(self) -> list[tuple[object, ...]]:
        return [self.core.path(node) for node in range(self.core.num_nodes)]

    def core_table(self) -> dict[Path, Any]:
        """As `ReferenceSearch.table`."""
        paths = self.core_paths()
        table = {}
        for node, path in enumerate(paths):
            edges = self.core.children(node)
            states = [EdgeState(state).name.lower() for state in edges.states]
            merged = [
                paths[child] if state == "merged" else None
                for child, state in zip(edges.nodes, states, strict=True)
            ]
            columns = (
                edges.visits.tolist(),
                edges.in_flight.tolist(),
                [bits(value) for value in edges.values],
                [bits(prior) for prior in edges.priors],
                states,
                edges.solved.tolist(),
                merged,
            )
            table[path] = list(zip(*columns, strict=True))
        return table
