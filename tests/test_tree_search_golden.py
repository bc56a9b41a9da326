"""Whole trees, frozen; the core's own tests read the same files."""

import json
from pathlib import Path as File

import pytest
from reference import Config, Row
from test_tree_search_reference import Pair
from write_golden import CASES, GOLDEN, record


def test_every_case_has_its_file() -> None:
    assert {file.stem for file in GOLDEN.glob("*.json")} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_reference_writes_the_golden_file(name: str) -> None:
    written = File(GOLDEN / f"{name}.json").read_text(encoding="utf-8")

    assert json.loads(written) == json.loads(json.dumps(record(name)))


@pytest.mark.parametrize("name", CASES)
def test_core_grows_the_golden_tree(name: str) -> None:
    golden = json.loads(File(GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    pair = Pair(config_of(golden["config"]), row_of(golden["root"]))

    for step in golden["steps"]:
        if "ask" in step:
            pair.ask(step["ask"])
        elif "tell" in step:
            pair.tell([row_of(row) for row in step["tell"]])
        elif "fail" in step:
            pair.fail([tuple(path) for path in step["fail"]])
        else:
            pair.advance(step["advance"], step["row"] and row_of(step["row"]))

    expected = {
        tuple(node["path"]): [tuple(edge) for edge in node["edges"]] for node in golden["nodes"]
    }
    assert pair.core_table() == expected


def config_of(given: dict[str, object]) -> Config:
    config = Config(**given)  # type: ignore[arg-type]  # as written
    if isinstance(config.normalize, list):
        config.normalize = tuple(config.normalize)
    return config


def row_of(given: dict[str, object]) -> Row:
    row = Row(**given)  # type: ignore[arg-type]  # as written
    row.path = tuple(row.path)
    return row
