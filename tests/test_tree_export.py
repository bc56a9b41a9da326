import json
import sys
from pathlib import Path

import networkx as nx
import pytest
from explained_searches import POLICIES, grown_adaptive, grown_channels, grown_tree, searched
from similar_fast.dimensions import DIMENSIONS
from similar_fast.tree.columns import EdgeState
from similar_fast.tree.export import to_json, to_networkx, write_json
from similar_fast.tree.search import TreeSearch
from similar_fast.types import SearchResult

SOURCES = {
    **{f"tree {it}": grown_tree(policy=it) for it in ("puct", "uct", "gumbel", "best_first")},
    "tree fresh": TreeSearch(3),
    "channels": grown_channels(),
    **{f"adaptive {it}": grown_adaptive(policy=it) for it in ("abmcts", "widening")},
    **{f"result {it}": searched(it) for it in POLICIES},
}


def merged_tree() -> TreeSearch:
    """Four states, of which two are reached in two ways each."""
    search = TreeSearch(list("ab"), normalize=None, key="", max_depth=4)
    while search.num_simulations < 40 and not search.is_exhausted:
        leaves = search.ask(1)
        keys = ["".join(sorted(map(str, path))) for path in leaves.paths()]
        search.tell(leaves, [0.5] * len(leaves), candidates=[["a", "b"]] * len(leaves), keys=keys)
    return search


def tree_of(graph: "nx.DiGraph") -> "nx.DiGraph":
    kept = [(a, b) for a, b, is_merged in graph.edges(data="is_merged") if not is_merged]
    return graph.edge_subgraph(kept) if kept else graph


@pytest.mark.parametrize("name", SOURCES)
def test_to_json_numbers_its_nodes_and_fits_json(name: str) -> None:
    document = to_json(SOURCES[name])

    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert (document["format"], document["version"]) == ("similar-fast tree", 1)
    assert [node["id"] for node in document["nodes"]] == list(range(len(document["nodes"])))
    assert document["nodes"][0]["parent"] is None
    for node in document["nodes"][1:]:
        above = document["nodes"][node["parent"]]
        assert node["parent"] < node["id"]
        assert node["depth"] == above["depth"] + 1
        assert node["visits"] <= above["visits"] or node["merged_with"] is not None


@pytest.mark.parametrize("name", SOURCES)
def test_to_networkx_is_an_arborescence_with_the_same_counts(name: str) -> None:
    source = SOURCES[name]
    document = to_json(source)

    graph = to_networkx(source)

    assert nx.is_arborescence(tree_of(graph))
    assert graph.number_of_nodes() == len(document["nodes"])
    num_merged = sum(node["merged_with"] is not None for node in document["nodes"])
    assert graph.number_of_edges() == len(document["nodes"]) - 1 + num_merged
    for node in document["nodes"]:
        found = graph.nodes[node["id"]]
        assert found["visits"] == node["visits"]
        assert found["action"] == node["action"]
        assert found.get("value") == node["value"]
        assert None not in found.values()
    assert graph.graph["policy"] == document["policy"]


@pytest.mark.parametrize("name", SOURCES)
def test_to_networkx_of_the_document_is_the_same_graph(name: str) -> None:
    direct = to_networkx(SOURCES[name])
    read = to_networkx(json.loads(json.dumps(to_json(SOURCES[name]))))

    assert nx.utils.graphs_equal(direct, read)
    assert direct.graph == read.graph


def test_to_networkx_can_be_written_as_graphml(tmp_path: Path) -> None:
    for number, source in enumerate(SOURCES.values()):
        path = tmp_path / f"{number}.graphml"

        nx.write_graphml(to_networkx(source), path)

        back = nx.read_graphml(path, node_type=int)
        assert back.number_of_nodes() == len(to_json(source)["nodes"])


def test_to_json_of_a_tree_holds_every_edge() -> None:
    search = grown_tree()
    rows = to_json(search)["nodes"]

    edges = [search.children(node) for node in range(search.num_nodes)]

    assert len(rows) == 1 + sum(len(it) for it in edges)
    assert rows[0]["visits"] == search.num_simulations
    top = search.children()
    for row, edge in zip(rows[1:3], range(2), strict=True):
        assert row["action"] == "ab"[edge]
        assert row["visits"] == top.visits[edge]
        assert row["value"] == top.values[edge]
        assert row["prior"] == top.priors[edge]
        assert row["state"] == EdgeState(top.states[edge]).name.lower()


def test_to_json_marks_the_principal_variation() -> None:
    search = grown_tree()

    rows = to_json(search)["nodes"]

    chosen = [row["action"] for row in rows if row["is_chosen"]]
    assert chosen == ["", *search.principal_variation()]
    assert len(chosen) > 2


def test_to_json_of_counted_candidates_marks_their_indices() -> None:
    search = TreeSearch(2, normalize=None, max_depth=3)
    while search.num_simulations < 20:
        leaves = search.ask(1)
        search.tell(leaves, leaves.actions, candidates=[[0, 1]] * len(leaves))

    rows = to_json(search)["nodes"]

    assert [row["action"] for row in rows if row["is_chosen"]][1] == str(search.best_action())


def test_to_json_of_channels_holds_the_dimensions() -> None:
    search = grown_channels()

    document = to_json(search)
    graph = to_networkx(search)

    assert document["dim_names"] == list(DIMENSIONS)
    assert document["nodes"][1]["dims"] == search.told()[0].tolist()
    assert graph.nodes[1]["coherence"] == search.told()[0][4]
    assert "dims" not in graph.nodes[1]


def test_merged_steps_are_further_edges() -> None:
    search = merged_tree()

    graph = to_networkx(search)

    merged = [(a, b) for a, b, is_merged in graph.edges(data="is_merged") if is_merged]
    states = nx.get_node_attributes(graph, "state")
    assert merged
    assert {a for a, _ in merged} == {node for node, it in states.items() if it == "merged"}
    assert all(states[b] == "expanded" for _, b in merged)
    assert nx.is_arborescence(tree_of(graph))
    words = {node: path_word(graph, node) for node in graph}
    for a, b in merged:
        assert sorted(words[a]) == sorted(words[b])


def path_word(graph: "nx.DiGraph", node: int) -> str:
    word = ""
    while node:
        word += graph.nodes[node]["action"]
        (node,) = (
            above for above in graph.predecessors(node) if not graph[above][node]["is_merged"]
        )
    return word


def test_to_json_of_an_adaptive_search_holds_every_node() -> None:
    search = grown_adaptive()
    nodes = search.nodes()
    rows = to_json(search)["nodes"]

    assert len(rows) == search.num_nodes
    assert {row["action"] for row in rows} == set(nodes.candidates)
    best = search.best()
    assert best is not None
    (last,) = [row for row in rows if row["is_chosen"] and row["action"] == search.candidate(best)]
    assert last["score"] == nodes.values[best]
    assert sum(row["is_chosen"] for row in rows) == len(search.path(best)) + 1


def test_to_json_of_a_result_holds_what_it_found_and_cost() -> None:
    result = SOURCES["result gumbel"]
    assert isinstance(result, SearchResult)

    document = to_json(result)

    facts = document["result"]
    assert facts["actions"] == [str(action) for action in result.actions]
    assert facts["scores"] == [score.total for score in result.scores]
    for name in ("success", "stopped_by", "env_steps", "committed_by", "seed", "task"):
        assert facts[name] == getattr(result, name)
    for node, row in zip(result.nodes, document["nodes"], strict=True):
        assert row["text"] == node.text
        assert row["is_closed"] == node.is_closed
        assert row["dims"] == (None if node.score is None else list(node.score.dims or ()))


def test_write_json_replaces_the_file_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "tree.json"
    path.write_text("old", encoding="ascii")

    written = write_json(grown_tree(), str(path))

    assert written == path
    assert json.loads(path.read_text(encoding="ascii")) == to_json(grown_tree())
    assert list(tmp_path.iterdir()) == [path]


def test_write_json_that_fails_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tree.json"
    path.write_text("old", encoding="ascii")

    def refuse(_self: Path, _target: Path) -> Path:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="disk full"):
        write_json(grown_tree(), path)

    assert path.read_text(encoding="ascii") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_write_json_into_missing_folder_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"folder .*nowhere does not exist"):
        write_json(grown_tree(), tmp_path / "nowhere" / "tree.json")


def test_to_json_of_something_else_raises_type_error() -> None:
    with pytest.raises(TypeError, match="got list"):
        to_json([])  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [{"version": 2}, {"format": "tree"}])
def test_to_networkx_of_another_version_raises(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected a document 'similar-fast tree' of version 1"):
        to_networkx(to_json(grown_tree()) | change)


def test_to_networkx_without_networkx_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "networkx", None)

    with pytest.raises(ImportError, match=r"install similar-fast\[graph\]"):
        to_networkx(grown_tree())
