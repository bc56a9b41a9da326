import base64
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from explained_searches import POLICIES, searched
from report_trees import DIMS, HOSTILE, make_result, small_tree
from similar_fast.dimensions import DIMENSIONS
from similar_fast.report.search_page import render_report, write_report
from similar_fast.tree.explain import explain, explain_steps
from similar_fast.types import Score, SearchTreeNode


def read_data(page: str) -> dict[str, object]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    data: dict[str, object] = json.loads(found[1], parse_constant=pytest.fail)
    return data


def test_render_report_holds_every_number_of_the_result() -> None:
    result = make_result(small_tree())

    data = read_data(render_report(result))

    assert data["actions"] == ['click button "Login"', 'click link "Next" #2']
    assert data["scores"] == [{"total": s.total, "dims": list(DIMS)} for s in result.scores]
    assert [d["name"] for d in data["dimensions"]] == list(DIMENSIONS)
    assert data["cost"] == {
        name: getattr(result, name)
        for name in (
            "num_simulations",
            "env_steps",
            "resets",
            "scorer_calls",
            "scored_actions",
            "seconds",
            "relaunches",
            "diverged",
        )
    }
    for node, row in zip(result.nodes, data["nodes"], strict=True):
        assert (row["parent"], row["action"], row["visits"]) == (
            node.parent,
            node.action,
            node.visits,
        )
        assert (row["prior"], row["is_done"], row["is_chosen"]) == (
            node.prior,
            node.is_done,
            node.is_chosen,
        )
        assert row["value"] == ("nan" if math.isnan(node.value) else node.value)
        assert data["texts"][row["text"]] == node.text
        if node.screenshot is not None:
            assert base64.b64decode(data["screenshots"][row["screenshot"]]) == node.screenshot


@pytest.mark.parametrize("policy", POLICIES)
def test_render_report_of_every_policy_tells_why(policy: str) -> None:
    result = searched(policy)

    page = render_report(result)

    data = read_data(page)
    assert page.isascii()
    assert (data["policy"], data["stopped_by"]) == (policy, result.stopped_by)
    assert len(data["steps"]) == len(result.actions)
    for step, (row, why) in enumerate(zip(data["steps"], explain_steps(result), strict=True)):
        assert row["sentences"] == str(explain(result, step=step)).split("\n")
        assert row["chosen"]["action"] == str(result.actions[step])
        assert row["chosen"]["dims"] == list(result.scores[step].dims)
        assert row["runner_up"]["visits"] == why.runner_up.visits
    for node, row in zip(result.nodes, data["nodes"], strict=True):
        assert row["merged_with"] == node.merged_with
        assert (row["is_closed"], row["is_greedy"], row["is_solved"]) == (
            node.is_closed,
            node.is_greedy,
            node.is_solved,
        )


def test_render_report_without_nodes_explains_nothing() -> None:
    assert read_data(render_report(make_result()))["steps"] == []


def test_render_report_stores_a_repeated_screen_once() -> None:
    data = read_data(render_report(make_result(small_tree())))

    assert data["texts"].count("second screen") == 1
    assert len(data["screenshots"]) == 2


def test_render_report_escapes_hostile_text() -> None:
    plain = render_report(make_result(small_tree()))
    result = replace(make_result(small_tree()), task=HOSTILE, instruction=HOSTILE)

    page = render_report(result)

    assert page.isascii()
    assert page.lower().count("</script") == plain.lower().count("</script") == 2
    assert "<img" not in page
    assert "<!--" not in page
    assert read_data(page)["instruction"] == HOSTILE
    assert read_data(page)["title"] == HOSTILE


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_render_report_names_a_number_that_json_lacks(value: float) -> None:
    dims = (value, 0.0, 0.0, 0.0, 0.0)
    nodes = (SearchTreeNode(0, -1, "", 1, value, value, Score(value, dims)),)

    row = read_data(render_report(replace(make_result(nodes), seconds=value)))["nodes"][0]

    assert (
        row["value"]
        == row["prior"]
        == row["score"]["total"]
        == row["score"]["dims"][0]
        == str(value)
    )


@pytest.mark.parametrize(
    ("parents", "message"),
    [
        ((0,), "parent of node 0 must be -1, got 0"),
        ((-1, 7), r"parent of node 1 must be in \[0, 2\), got 7"),
        ((-1, 2, 1), "2 of 3 nodes hang on no root"),
    ],
)
def test_render_report_of_no_tree_raises(parents: tuple[int, ...], message: str) -> None:
    nodes = tuple(SearchTreeNode(i, p, "a", 1, 0.0, 1.0, None) for i, p in enumerate(parents))

    with pytest.raises(ValueError, match=message):
        render_report(make_result(nodes))


def test_render_report_of_misplaced_node_raises() -> None:
    nodes = (SearchTreeNode(3, -1, "", 1, 0.0, 1.0, None),)

    with pytest.raises(ValueError, match="node at place 0 must have that id, got 3"):
        render_report(make_result(nodes))


def test_write_report_replaces_the_file_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old", encoding="ascii")

    written = write_report(make_result(small_tree()), str(path), title="A title")

    assert written == path
    assert path.read_bytes().decode("ascii") == render_report(
        make_result(small_tree()), title="A title"
    )
    assert list(tmp_path.iterdir()) == [path]


def test_write_report_that_fails_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.html"
    path.write_text("old", encoding="ascii")

    def refuse(_self: Path, _target: Path) -> Path:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="disk full"):
        write_report(make_result(), path)

    assert path.read_text(encoding="ascii") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_write_report_into_missing_folder_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"folder .*nowhere does not exist"):
        write_report(make_result(), tmp_path / "nowhere" / "report.html")
