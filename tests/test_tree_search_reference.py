"""The core against the plain-Python search: node for node, bit for bit."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import Asked, Config, Path, ReferenceSearch, Row
from similar_fast.tree_columns import EdgeState, Leaves
from similar_fast.tree_search import TreeSearch

VALUES = st.floats(-(2.0**100), 2.0**100, width=32) | st.floats(-1, 1, width=32)
WEIGHTS = st.floats(0, 4, width=32)
STEPS = ["ask", "ask", "edge", "tell", "tell", "tell", "fail", "advance"]
CONFIGS = st.builds(
    Config,
    policy=st.sampled_from(["puct", "uct"]),
    backup=st.sampled_from(["mean", "max"]),
    c_puct=st.sampled_from([0.0, 0.3, 1.25, 8.0]),
    max_depth=st.integers(1, 5),
    fpu=st.just("parent") | st.floats(-2, 2, width=32),
    normalize=st.sampled_from([None, "minmax", (-1.0, 2.5)]),
)


class Pair:
    """The same calls on both searches."""

    def __init__(self, config: Config, root: Row) -> None:
        self.reference = ReferenceSearch(config, root)
        self.core = TreeSearch(
            root.candidates or 0,
            priors=root.priors,
            first_values=root.first_values,
            policy=config.policy,  # type: ignore[arg-type]  # drawn from the two that there are
            backup=config.backup,  # type: ignore[arg-type]  # as above
            c_puct=config.c_puct,
            max_depth=config.max_depth,
            fpu=config.fpu,
            normalize=config.normalize,
            max_collisions=None,
        )
        self.ids: dict[Path, int] = {}

    def paths(self, leaves: Leaves) -> list[Path]:
        paths = leaves.paths()
        return [tuple(int(str(action)) for action in path) for path in paths]

    def ask(self, num_simulations: int) -> None:
        expected = self.reference.ask(num_simulations)
        self.compare(self.core.ask(num_simulations), expected)

    def ask_edge(self, path: Path, action: int) -> None:
        node = self.core.root
        for step in path:
            node = int(self.core.children(node).nodes[step])
        expected = self.reference.ask_edge(path, action)
        self.compare(self.core.ask_edge(node, action), expected)

    def compare(self, leaves: Leaves, expected: Asked) -> None:
        paths = self.paths(leaves)
        kinds = ["expand" if wants else "evaluate" for wants in leaves.wants_candidates]
        found = dict(
            zip(paths, zip(kinds, leaves.multiplicities.tolist(), strict=True), strict=True)
        )
        assert found == expected.leaves
        assert leaves.num_completed == expected.num_completed
        assert leaves.depths.tolist() == [len(path) for path in paths]
        self.ids |= dict(zip(paths, leaves.ids.tolist(), strict=True))

    def tell(self, rows: list[Row]) -> None:
        self.reference.tell(rows)
        nodes = self.core.tell(
            [self.ids.pop(row.path) for row in rows],
            [row.value for row in rows],
            candidates=np.array(
                [-1 if row.candidates is None else row.candidates for row in rows], dtype=np.int64
            ),
            priors=self.flat([row.priors for row in rows]),
            first_values=self.flat([row.first_values for row in rows]),
            terminal=[row.terminal for row in rows],
        )
        for row, node in zip(rows, nodes.tolist(), strict=True):
            assert (node >= 0) == (row.path in self.reference.nodes)
            if node >= 0:
                assert self.core.path(node) == row.path

    @staticmethod
    def flat(columns: list[Sequence[float] | None]) -> np.ndarray | None:
        given = [column for column in columns if column is not None]
        return np.array([x for column in given for x in column], np.float32) if given else None

    def fail(self, paths: list[Path]) -> None:
        self.reference.fail(paths)
        self.core.fail([self.ids.pop(path) for path in paths])

    def advance(self, action: int, row: Row | None) -> None:
        self.reference.advance(action, row)
        given = {} if row is None else {"priors": row.priors, "first_values": row.first_values}
        candidates = None if row is None else row.candidates
        before = self.core_paths()
        rows = self.core.advance(action, candidates=candidates, **given)  # type: ignore[arg-type]  # as drawn
        after = [] if row else self.core_paths()
        assert [before[old] for old in rows] == [(action, *path) for path in after]
        kept = set(self.reference.open_leaves())
        self.ids = {
            path[1:]: leaf
            for path, leaf in self.ids.items()
            if path[1:] in kept and path[0] == action
        }

    def check(self) -> None:
        assert self.core_table() == self.reference.table()
        edges = self.reference.nodes[()]
        parked_at_root = sum(n for path, n in self.reference.parked if path == ())
        assert self.core.num_simulations == sum(e.visits - e.in_flight for e in edges)
        assert self.core.in_flight == sum(e.in_flight for e in edges) + parked_at_root
        assert self.core.num_parked == sum(n for _, n in self.reference.parked)
        assert self.core.num_nodes == len(self.reference.nodes)
        if not self.ids and not self.reference.parked:
            assert self.core.in_flight == 0

    def core_paths(self) -> list[tuple[object, ...]]:
        return [self.core.path(node) for node in range(self.core.num_nodes)]

    def core_table(self) -> dict[Path, Any]:
        table = {}
        stack: list[tuple[Path, int]] = [((), self.core.root)]
        while stack:
            path, node = stack.pop()
            edges = self.core.children(node)
            columns = (
                edges.visits.tolist(),
                edges.in_flight.tolist(),
                edges.values.view(np.uint32).tolist(),
                edges.priors.view(np.uint32).tolist(),
                [EdgeState(state).name.lower() for state in edges.states],
            )
            table[path] = list(zip(*columns, strict=True))
            stack += [((*path, i), n) for i, n in enumerate(edges.nodes.tolist()) if n >= 0]
        return table


@st.composite
def rows(draw: st.DrawFn, path: Path, *, must_expand: bool, priors: bool, values: bool) -> Row:
    row = Row(path, value=draw(VALUES))
    row.terminal = draw(st.integers(0, 9)) == 0
    most = 0 if row.terminal else draw(st.sampled_from([4, 4, 4, 9, 20, 40]))
    count = draw(st.integers(0, most) | st.just(most))
    row.candidates = count if must_expand or draw(st.booleans()) else None
    if row.candidates is not None and priors:
        row.priors = draw(st.lists(WEIGHTS, min_size=count, max_size=count))
        if count and not any(row.priors):
            row.priors = [1.0] * count
    if row.candidates is not None and values:
        row.first_values = draw(st.lists(VALUES, min_size=count, max_size=count))
    return row


@st.composite
def root_rows(draw: st.DrawFn) -> Row:
    row = draw(rows((), must_expand=True, priors=draw(st.booleans()), values=draw(st.booleans())))
    if not row.candidates:
        row.candidates, row.priors, row.first_values = 1, None, None
    return row


@settings(max_examples=100, deadline=None)
@given(CONFIGS, root_rows(), st.data())
def test_random_calls_give_the_reference_tree(
    config: Config, root: Row, data: st.DataObject
) -> None:
    pair = Pair(config, root)
    for _ in range(data.draw(st.integers(1, 14))):
        open_leaves = sorted(pair.ids)
        step = data.draw(st.sampled_from(STEPS))
        if step == "edge":
            path = data.draw(st.sampled_from(sorted(pair.reference.nodes)))
            pair.ask_edge(path, data.draw(st.integers(0, len(pair.reference.nodes[path]) - 1)))
        elif step == "ask" or (step != "advance" and not open_leaves):
            pair.ask(data.draw(st.integers(1, 40)))
        elif step == "advance":
            action = data.draw(st.integers(0, len(pair.reference.nodes[()]) - 1))
            state = pair.reference.nodes[()][action].state
            if state != "terminal":
                row = None if state == "expanded" else data.draw(root_rows())
                pair.advance(action, row)
        else:
            chosen = data.draw(st.permutations(open_leaves))
            chosen = chosen[: data.draw(st.integers(1, len(chosen)))]
            if step == "fail":
                pair.fail(chosen)
            else:
                given = {"priors": data.draw(st.booleans()), "values": data.draw(st.booleans())}
                states = {path: pair.reference.edge(path).state for path in chosen}
                pair.tell(
                    [
                        data.draw(rows(path, must_expand=states[path] == "expanding", **given))
                        for path in chosen
                    ]
                )
        pair.check()
