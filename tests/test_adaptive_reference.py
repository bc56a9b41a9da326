"""The core against the plain-Python adaptive search: node for node."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_adaptive import Config, ReferenceAdaptive
from similar_fast.tree.adaptive import AdaptiveSearch, Beta, Gaussian

STEPS = ["ask", "ask", "ask", "tell", "tell", "tell", "fail", "advance", "save"]
WEIGHTS = st.sampled_from([0.25, 0.5, 1.0, 3.0])
GAUSSIANS = st.tuples(
    st.just("gaussian"), st.tuples(st.sampled_from([-1.0, 0.0, 0.5]), WEIGHTS, WEIGHTS, WEIGHTS)
)
BETAS = st.tuples(st.just("beta"), st.tuples(WEIGHTS, WEIGHTS))
WIDENINGS = st.tuples(
    st.sampled_from(["uct", "puct"]),
    st.tuples(
        st.sampled_from([0.3, 1.0, 2.0]),
        st.sampled_from([0.0, 0.3, 0.5, 1.0]),
        st.sampled_from([0.0, 0.4, 1.25]),
    ),
)
CONFIGS = st.builds(
    lambda policy, seed, max_depth, normalize: Config(*policy, seed, max_depth, normalize),
    GAUSSIANS | BETAS | WIDENINGS,
    st.integers(0, 2**64 - 1),
    st.integers(1, 5),
    st.sampled_from(["minmax", (-0.5, 2.0), None]),
)
# Multiples of 1/256, so that sums are exact in any order and ties are true ties.
VALUES = st.integers(0, 256).map(lambda step: step / 256)


def adaptive(config: Config, root_value: float | None) -> AdaptiveSearch:
    options: dict[str, Any] = {}
    if config.policy in {"uct", "puct"}:
        k, alpha, c_puct = config.parameters
        options = {"policy": "widening", "rule": config.policy, "k": k}
        options |= {"alpha": alpha, "c_puct": c_puct}
    else:
        kind = Gaussian if config.policy == "gaussian" else Beta
        options = {"prior": kind(*config.parameters)}
    return AdaptiveSearch(
        root_value=root_value,
        seed=config.seed,
        max_depth=config.max_depth,
        normalize=config.normalize,
        **options,
    )


class Pair:
    """The same calls on both searches."""

    def __init__(self, config: Config, root_value: float | None) -> None:
        self.reference = ReferenceAdaptive(config, root_value)
        self.core = adaptive(config, root_value)
        self.ids: dict[int, int] = {}  # by the reference's leaf

    def ask(self, num_simulations: int) -> None:
        if self.core.is_exhausted:
            assert self.reference.is_closed(0)
            return
        leaves = self.core.ask(num_simulations)
        expected = self.reference.ask(num_simulations)
        found = list(zip(leaves.parents.tolist(), leaves.multiplicities.tolist(), strict=True))
        assert found == [(parent, visits) for _, parent, visits in expected]
        self.ids |= dict(zip([leaf for leaf, _, _ in expected], leaves.ids.tolist(), strict=True))

    def tell(self, rows: list[tuple[int, float | None, bool]]) -> None:
        made = self.core.tell(
            [self.ids.pop(leaf) for leaf, _, _ in rows],
            [np.nan if value is None else value for _, value, _ in rows],
            terminal=[terminal for _, _, terminal in rows],
            exhausted=[value is None for _, value, _ in rows],
        )
        first = len(self.reference.nodes)
        self.reference.tell(rows)
        order = sorted(leaf for leaf, value, _ in rows if value is not None)
        expected = [-1 if value is None else first + order.index(leaf) for leaf, value, _ in rows]
        assert made.tolist() == expected

    def fail(self, leaves: list[int]) -> None:
        self.core.fail([self.ids.pop(leaf) for leaf in leaves])
        self.reference.fail(leaves)

    def advance(self, node: int) -> None:
        self.core.advance(node)
        self.reference.advance(node)
        self.ids = {leaf: self.ids[leaf] for leaf in self.reference.parents}

    def save(self) -> None:
        """A loaded search goes on as one whose open leaves were taken back."""
        self.fail(list(self.ids))
        self.core = AdaptiveSearch.from_bytes(self.core.to_bytes())

    def compare(self) -> None:
        found, reference = self.core.nodes(), self.reference
        indices = range(len(reference.nodes))
        assert found.parents.tolist() == [node.parent for node in reference.nodes]
        assert found.depths.tolist() == [node.depth for node in reference.nodes]
        assert found.in_flight.tolist() == [node.in_flight for node in reference.nodes]
        visits = [reference.visits(i) - reference.nodes[i].in_flight for i in indices]
        assert found.visits.tolist() == visits
        assert found.terminal.tolist() == [node.terminal for node in reference.nodes]
        assert found.exhausted.tolist() == [node.exhausted for node in reference.nodes]
        assert found.closed.tolist() == [reference.is_closed(i) for i in indices]
        values = [np.nan if node.value is None else node.value for node in reference.nodes]
        np.testing.assert_array_equal(found.values, np.array(values, dtype=np.float32))
        for node in indices:
            assert self.core.children(node).nodes.tolist() == reference.nodes[node].children


def rows_of(data: st.DataObject, leaves: list[int]) -> list[tuple[int, float | None, bool]]:
    rows = []
    for leaf in leaves:
        kind = data.draw(st.sampled_from(["value"] * 8 + ["terminal", "exhausted"]))
        value = None if kind == "exhausted" else data.draw(VALUES)
        rows.append((leaf, value, kind == "terminal"))
    return rows


@settings(max_examples=150)
@given(CONFIGS, st.none() | VALUES, st.lists(st.sampled_from(STEPS), max_size=25), st.data())
def test_core_makes_the_tree_of_the_reference(
    config: Config, root_value: float | None, steps: list[str], data: st.DataObject
) -> None:
    pair = Pair(config, root_value)
    for step in steps:
        leaves = data.draw(st.permutations(sorted(pair.ids)))
        some = leaves[: data.draw(st.integers(0, len(leaves)))]
        match step:
            case "ask":
                pair.ask(data.draw(st.integers(1, 9)))
            case "tell":
                pair.tell(rows_of(data, some))
            case "fail":
                pair.fail(some)
            case "advance":
                pair.advance(data.draw(st.integers(0, len(pair.reference.nodes) - 1)))
            case "save":
                pair.save()
        pair.compare()


@pytest.mark.parametrize("policy", ["gaussian", "beta", "uct", "puct"])
def test_core_makes_the_tree_of_the_reference_in_a_long_run(policy: str) -> None:
    parameters = {"gaussian": (0.0, 1.0, 1.0, 0.1), "beta": (0.5, 0.5)}.get(policy, (1.0, 0.5, 1.0))
    pair = Pair(Config(policy, parameters, seed=3), None)
    numbers = np.random.default_rng(5)
    for step in range(60):
        pair.ask(1 + step % 7)
        pair.tell([(leaf, int(numbers.integers(257)) / 256, False) for leaf in list(pair.ids)])
    pair.compare()
