"""One HTML file that shows a search: its outcome, its cost, its tree. It opens without a network.

The page is `search.html`; into its holes go the title, the data and `search.js`. The data is JSON
inside of a script element that no browser runs; `search.js` puts it on the screen as text, never
as markup. A content security policy that names that script by its hash forbids every other one.
"""

import base64
import hashlib
import json
import math
from pathlib import Path
from typing import Any

from similar_fast.dimensions import DIMENSION_INFO, DIMENSIONS
from similar_fast.files.whole_file import write_whole
from similar_fast.report.page import escaped, fill, part
from similar_fast.tree.explain import explain_steps
from similar_fast.tree.explanation import Explanation, Option
from similar_fast.types import Score, SearchResult, SearchTreeNode

__all__ = ["render_report", "write_report"]

# These end a script element or a line of script; inside of a JSON string the escape reads the same.
_ESCAPES = str.maketrans(
    {char: f"\\u{ord(char):04x}" for char in ("<", ">", "&", "\u2028", "\u2029")}
)


def write_report(result: SearchResult, path: str | Path, *, title: str | None = None) -> Path:
    """Writes the report of `result` to `path` and returns the path.

    The file appears whole or not at all; one that was there before is replaced.

    Args:
        result: What a search found; without `nodes` the report says that no tree was recorded.
        path: The HTML file. Its folder must exist.
        title: The page's heading; the task's name where it is None.

    Returns:
        `path` as a `Path`.

    Raises:
        FileNotFoundError: The folder of `path` does not exist.
        ValueError: The nodes do not form a tree.
    """
    return write_whole(path, render_report(result, title=title).encode("ascii"))


def render_report(result: SearchResult, *, title: str | None = None) -> str:
    """The report of `result` as one HTML document of ASCII characters.

    Args:
        result: What a search found.
        title: The page's heading; the task's name where it is None.

    Returns:
        The document; equal arguments give equal documents.

    Raises:
        ValueError: The nodes do not form a tree: an id is not the node's place, a parent is
            missing, or a node cannot be reached from the root.
    """
    _check_tree(result.nodes)
    heading = result.task if title is None else title
    script = part("search.js")
    digest = hashlib.sha256(script.encode()).digest()
    return fill(
        "search.html",
        {
            "title": escaped(heading),
            "data": _to_json({"title": heading, **_payload(result)}),
            "script": script,
            "script_hash": base64.b64encode(digest).decode(),
        },
    )


def _check_tree(nodes: tuple[SearchTreeNode, ...]) -> None:
    children: dict[int, list[int]] = {}
    for place, node in enumerate(nodes):
        if node.id != place:
            raise ValueError(f"node at place {place} must have that id, got {node.id}")
        known = node.parent == -1 if place == 0 else 0 <= node.parent < len(nodes)
        if not known:
            expected = "-1" if place == 0 else f"in [0, {len(nodes)})"
            raise ValueError(f"parent of node {place} must be {expected}, got {node.parent}")
        children.setdefault(node.parent, []).append(place)
    reached = [0] if nodes else []
    for node_id in reached:
        reached.extend(children.get(node_id, ()))
    if len(reached) != len(nodes):
        raise ValueError(f"{len(nodes) - len(reached)} of {len(nodes)} nodes hang on no root")


def _payload(result: SearchResult) -> dict[str, Any]:
    """What the page reads. A screen that several nodes lead to is stored once, under its place."""
    texts: dict[str, int] = {}
    screenshots: dict[bytes, int] = {}
    nodes = [_node_payload(node, texts, screenshots) for node in result.nodes]
    steps = explain_steps(result) if result.nodes else ()
    return {
        "dimensions": [
            {"name": str(dimension), "symbol": DIMENSION_INFO[dimension].symbol}
            for dimension in DIMENSIONS
        ],
        "task": result.task,
        "seed": result.seed,
        "instruction": result.instruction,
        "success": result.success,
        "is_done": result.is_done,
        "policy": result.policy,
        "stopped_by": result.stopped_by,
        "steps": [_step_payload(step) for step in steps],
        "actions": [str(action) for action in result.actions],
        "scores": [_score_payload(score) for score in result.scores],
        "cost": {
            "num_simulations": result.num_simulations,
            "env_steps": result.env_steps,
            "resets": result.resets,
            "scorer_calls": result.scorer_calls,
            "scored_actions": result.scored_actions,
            "seconds": _number(result.seconds),
            "relaunches": result.relaunches,
            "diverged": result.diverged,
        },
        "nodes": nodes,
        "texts": list(texts),
        "screenshots": [base64.b64encode(png).decode() for png in screenshots],
    }


def _node_payload(
    node: SearchTreeNode, texts: dict[str, int], screenshots: dict[bytes, int]
) -> dict[str, Any]:
    png = node.screenshot
    return {
        "parent": node.parent,
        "action": node.action,
        "visits": int(node.visits),
        "value": _number(node.value),
        "prior": _number(node.prior),
        "score": None if node.score is None else _score_payload(node.score),
        "is_done": bool(node.is_done),
        "is_chosen": bool(node.is_chosen),
        "is_closed": bool(node.is_closed),
        "is_greedy": bool(node.is_greedy),
        "is_solved": bool(node.is_solved),
        "merged_with": int(node.merged_with),
        "text": texts.setdefault(node.text, len(texts)),
        "screenshot": None if png is None else screenshots.setdefault(png, len(screenshots)),
    }


def _step_payload(step: Explanation) -> dict[str, Any]:
    return {
        "sentences": list(step.sentences),
        "chosen": None if step.chosen is None else _option_payload(step.chosen),
        "runner_up": None if step.runner_up is None else _option_payload(step.runner_up),
    }


def _option_payload(option: Option) -> dict[str, Any]:
    return {
        "node": option.id,
        "action": option.name,
        "visits": int(option.visits),
        "value": None if option.value is None else _number(option.value),
        "prior": None if option.prior is None else _number(option.prior),
        "score": None if option.score is None else _number(option.score),
        "ending": None if option.ending is None else _number(option.ending.total),
        "dims": None if option.dims is None else [_number(x) for x in option.dims],
    }


def _score_payload(score: Score) -> dict[str, Any]:
    dims = None if score.dims is None else [_number(x) for x in score.dims]
    return {"total": _number(score.total), "dims": dims}


def _number(value: float) -> float | str:
    """`value` itself, or its name where JSON has no number for it: `nan`, `inf`, `-inf`."""
    number = float(value)
    return number if math.isfinite(number) else str(number)


def _to_json(payload: dict[str, Any]) -> str:
    text = json.dumps(payload, allow_nan=False, separators=(",", ":"))
    return text.translate(_ESCAPES)
