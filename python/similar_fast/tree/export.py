"""Trees for other programs: as a JSON document, or as a graph of NetworkX.

The document, version 1:

- `format`: `similar-fast tree`; `version`: 1; `kind`: `tree` (a `TreeSearch`), `adaptive` (an
  `AdaptiveSearch`) or `result` (a `SearchResult`); `policy`; `num_simulations`;
- `dim_names`: the names of the numbers in each node's `dims`;
- `nodes`: one for each candidate that the search knows, visited or not, breadth first; the first
  is the root. Each has `id`, its place in the list; `parent`, an id, None for the root;
  `action`, in words; `depth`; `visits`; `value`; `is_chosen`, whether it lies on the path that the
  search takes; `is_solved`, whether every way on is known to its end; `merged_with`, the id of the
  node below which the same state is explored, None where it is not merged;
- by kind: `prior`, `score` and `dims` (`tree`, `result`); `state`, see `EdgeState`, in small
  letters, and `in_flight` (`tree`); `score`, the node's own value, `in_flight` and `is_terminal`
  (`adaptive`); `text`, the screen, `is_done`, `is_closed` and `is_greedy` (`result`);
- `result`, for that kind: what `SearchResult` says beside its nodes.

A number that is not known or not finite is None. Screenshots are left out.
"""

import json
from collections import deque
from collections.abc import Sequence
from dataclasses import fields
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from similar_fast.dimensions import DIMENSIONS
from similar_fast.files.whole_file import write_whole
from similar_fast.tree.adaptive import AdaptiveSearch
from similar_fast.tree.columns import Children, EdgeState
from similar_fast.tree.search import TreeSearch
from similar_fast.tree.settings import channel_names
from similar_fast.types import SearchResult, SearchTreeNode

if TYPE_CHECKING:
    import networkx as nx

__all__ = ["to_json", "to_networkx", "write_json"]

FORMAT = "similar-fast tree"
VERSION = 1

Source: TypeAlias = TreeSearch | AdaptiveSearch | SearchResult


def to_json(source: Source) -> dict[str, Any]:
    """The whole tree as a document that `json.dumps` takes; its schema is told above.

    Args:
        source: A search in hand, which nobody changes meanwhile, or a result. O(tree).

    Raises:
        TypeError: `source` is something else.
    """
    extra: dict[str, Any] = {}
    names: tuple[str, ...]
    policy: str
    if isinstance(source, TreeSearch):
        names = channel_names(source.settings.channels)
        policy = source.settings.policy
        kind, nodes = "tree", _tree_nodes(source)
    elif isinstance(source, AdaptiveSearch):
        names = ()
        policy = source.policy
        kind, nodes = "adaptive", _adaptive_nodes(source)
    elif isinstance(source, SearchResult):
        names, policy = channel_names(len(DIMENSIONS)), source.policy
        kind, nodes = "result", _result_nodes(source.nodes)
        extra = {"result": _result_facts(source)}
    else:
        raise TypeError(
            "expected a TreeSearch, an AdaptiveSearch or a SearchResult, got "
            f"{type(source).__name__}"
        )
    return {
        "format": FORMAT,
        "version": VERSION,
        "kind": kind,
        "policy": policy,
        "num_simulations": source.num_simulations,
        "dim_names": list(names),
        "nodes": nodes,
        **extra,
    }


def write_json(source: Source, path: str | Path) -> Path:
    """Writes `to_json` of `source` to `path` and returns the path.

    The file appears whole or not at all; one that was there before is replaced.

    Raises:
        FileNotFoundError: The folder of `path` does not exist.
        TypeError: `source` is no search and no result.
    """
    text = json.dumps(to_json(source), allow_nan=False, separators=(",", ":"))
    return write_whole(path, text.encode("ascii"))


def to_networkx(source: Source | dict[str, Any]) -> "nx.DiGraph[int]":
    """The tree as a directed graph, edges away from the root.

    Nodes are the ids of the document and have its fields as attributes, without those that are
    None, and without `dims`, in whose place each dimension is an attribute of its own name; so that
    every writer of NetworkX can write them. An edge has `is_merged`. From a merged node one more
    edge leads to the node that it is merged with, `is_merged` True; without these edges the graph
    is an arborescence. The graph has the rest of the document as attributes, `result` excluded.

    Args:
        source: As for `to_json`, or a document that it made.

    Raises:
        ImportError: NetworkX is missing: install `similar-fast[graph]`.
        ValueError: The document is of another format or version.
    """
    try:
        import networkx as nx  # noqa: PLC0415  # an extra
    except ImportError as error:
        raise ImportError("to_networkx needs NetworkX: install similar-fast[graph]") from error
    document = source if isinstance(source, dict) else to_json(source)
    found = (document.get("format"), document.get("version"))
    if found != (FORMAT, VERSION):
        raise ValueError(f"expected a document {FORMAT!r} of version {VERSION}, got {found}")
    names = ("format", "version", "kind", "policy", "num_simulations")
    graph: nx.DiGraph[int] = nx.DiGraph(**{name: document[name] for name in names})
    for node in document["nodes"]:
        graph.add_node(node["id"], **_attributes(node, document["dim_names"]))
    for node in document["nodes"]:
        if node["parent"] is not None:
            graph.add_edge(node["parent"], node["id"], is_merged=False)
        if node["merged_with"] is not None:
            graph.add_edge(node["id"], node["merged_with"], is_merged=True)
    return graph


def _attributes(node: dict[str, Any], names: list[str]) -> dict[str, Any]:
    left_out = ("id", "parent", "dims")
    found = {key: value for key, value in node.items() if key not in left_out and value is not None}
    return found | dict(zip(names, node.get("dims") or (), strict=False))


def _number(value: float) -> float | None:
    return float(value) if isfinite(value) else None


def _tree_nodes(search: TreeSearch) -> list[dict[str, Any]]:
    chosen = _chosen_edges(search)
    rows = [_tree_root(search)]
    places = {search.root: 0}
    merged: list[tuple[int, int]] = []
    waiting = deque([search.root])
    while waiting:
        node = waiting.popleft()
        edges = search.children(node)
        above = rows[places[node]]
        for edge, row in enumerate(_tree_rows(search, edges)):
            child = int(edges.nodes[edge])
            rows.append(
                {
                    "id": len(rows),
                    "parent": above["id"],
                    "depth": above["depth"] + 1,
                    **row,
                    "is_chosen": (node, edge) in chosen,
                    "merged_with": None,
                }
            )
            if row["state"] == "merged":
                merged.append((rows[-1]["id"], child))
            elif child >= 0:
                places[child] = rows[-1]["id"]
                waiting.append(child)
    for place, child in merged:
        rows[place]["merged_with"] = places[child]
    return rows


def _tree_root(search: TreeSearch) -> dict[str, Any]:
    edges = search.children()
    visits = int(edges.visits.sum())
    values = edges.values.astype(np.float64)
    return {
        "id": 0,
        "parent": None,
        "depth": 0,
        "action": "",
        "visits": visits,
        "in_flight": int(edges.in_flight.sum()),
        "value": _number(float(edges.visits @ values) / visits) if visits else None,
        "prior": 1.0,
        "score": None,
        "dims": None,
        "state": "expanded",
        "is_solved": bool(edges.solved.all()),
        "is_chosen": True,
        "merged_with": None,
    }


def _tree_rows(search: TreeSearch, edges: Children) -> list[dict[str, Any]]:
    """The edges of one node; their place in the document is filled in by the caller."""
    told = search.told(edges.node) if search.settings.channels else None
    weights = search.settings.weights
    names = range(len(edges)) if edges.candidates is None else edges.candidates
    rows = []
    for edge, name in enumerate(names):
        is_told = told is not None and not np.isnan(told[edge]).any()
        dims = told[edge].tolist() if told is not None and is_told else None
        rows.append(
            {
                "action": str(name),
                "visits": int(edges.visits[edge]),
                "in_flight": int(edges.in_flight[edge]),
                "value": _number(edges.values[edge]),
                "prior": float(edges.priors[edge]),
                "score": float(np.dot(dims, weights)) if dims and weights else None,
                "dims": dims,
                "state": EdgeState(edges.states[edge]).name.lower(),
                "is_solved": bool(edges.solved[edge]),
            }
        )
    return rows


def _chosen_edges(search: TreeSearch) -> set[tuple[int, int]]:
    """The edges of the principal variation, found again by its candidates.

    Of those that are one and the same object it is the most visited.
    """
    found: set[tuple[int, int]] = set()
    node = search.root
    for depth, candidate in enumerate(search.principal_variation()):
        edges = search.children(node)
        if depth == 0:
            edge = search.best_action()
        elif edges.candidates is None:
            edge = int(str(candidate))
        else:
            same = [edge for edge, it in enumerate(edges.candidates) if it is candidate]
            edge = max(same, key=edges.visits.tolist().__getitem__)
        if (node, edge) in found:
            break
        found.add((node, edge))
        node = int(edges.nodes[edge])
    return found


def _adaptive_nodes(search: AdaptiveSearch) -> list[dict[str, Any]]:
    nodes = search.nodes()
    best = search.best()
    chosen = {0}
    while best is not None and best > 0:
        chosen.add(best)
        best = int(nodes.parents[best])
    places: dict[int, int] = {}
    rows: list[dict[str, Any]] = []
    order = np.lexsort((nodes.nodes, nodes.depths)).tolist()  # breadth first
    for node in order:
        candidate = nodes.candidates[node]
        places[node] = len(rows)
        rows.append(
            {
                "id": len(rows),
                "parent": None if node == 0 else places[int(nodes.parents[node])],
                "depth": int(nodes.depths[node]),
                "action": f"node {node}" if candidate is None else str(candidate),
                "visits": int(nodes.visits[node]),
                "in_flight": int(nodes.in_flight[node]),
                "value": _number(nodes.means[node]),
                "score": _number(nodes.values[node]),
                "is_terminal": bool(nodes.terminal[node]),
                "is_solved": bool(nodes.closed[node]),
                "is_chosen": node in chosen,
                "merged_with": None,
            }
        )
    return rows


def _result_nodes(nodes: Sequence[SearchTreeNode]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for node in nodes:
        score = node.score
        dims = None if score is None or score.dims is None else list(map(_number, score.dims))
        rows.append(
            {
                "id": node.id,
                "parent": None if node.parent < 0 else node.parent,
                "depth": 0 if node.parent < 0 else rows[node.parent]["depth"] + 1,
                "action": node.action,
                "visits": node.visits,
                "value": _number(node.value),
                "prior": _number(node.prior),
                "score": None if score is None else _number(score.total),
                "dims": dims,
                "text": node.text,
                "is_done": node.is_done,
                "is_closed": node.is_closed,
                "is_greedy": node.is_greedy,
                "is_solved": node.is_solved,
                "is_chosen": node.is_chosen,
                "merged_with": None if node.merged_with < 0 else node.merged_with,
            }
        )
    return rows


def _result_facts(result: SearchResult) -> dict[str, Any]:
    facts = {field.name: getattr(result, field.name) for field in fields(result)}
    del facts["nodes"]
    facts["actions"] = [str(action) for action in result.actions]
    facts["scores"] = [_number(score.total) for score in result.scores]
    facts["score_range"] = list(map(_number, result.score_range))
    return facts
