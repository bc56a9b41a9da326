"""Components of shared keys, held against networkx."""

import networkx as nx
from hypothesis import given
from hypothesis import strategies as st
from similar_fast.components import components


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 20)), max_size=40))
def test_components_are_those_of_the_graph(held: list[tuple[int, int]]) -> None:
    graph = nx.Graph((node, f"key {key}") for node, key in held)
    expected = {
        node: min(n for n in part if isinstance(n, int))
        for part in nx.connected_components(graph)
        for node in part
        if isinstance(node, int)
    }

    assert components(held) == expected


def test_a_long_chain_is_one() -> None:
    chain = [(node, key) for node in range(50_000) for key in (node, node + 1)]

    assert set(components(chain).values()) == {0}
