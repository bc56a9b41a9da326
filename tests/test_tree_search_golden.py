"""Whole trees, frozen; the core's own tests read the same files."""

import json
from pathlib import Path as File
from typing import Any

import pytest
from pair import Pair
from reference import Config, ReferenceSearch
from walks import row_of
from write_golden import CASES, GOLDEN, record


def test_every_case_has_its_file() -> None:
    assert {file.stem for file in GOLDEN.glob("*.json")} == set(CASES)


def load(name: str) -> dict[str, Any]:
    return json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", CASES)
def test_reference_writes_the_golden_file(name: str) -> None:
    assert load(name) == json.loads(json.dumps(record(name)))


@pytest.mark.parametrize("name", CASES)
def test_core_grows_the_golden_tree(name: str, tmp_path: File) -> None:
    golden = load(name)
    root = row_of(golden["root"])
    pair = Pair(ReferenceSearch(config_of(golden["config"]), root), root, tmp_path)

    for step in golden["steps"]:
        pair.make(step)

    expected = {tuple(node["path"]): node["edges"] for node in golden["nodes"]}
    assert json.loads(json.dumps(list(pair.core_table().values()))) == [
        expected[path] for path in pair.core_table()
    ]
    assert pair.core.best_action() == golden["best_action"]


def config_of(given: dict[str, Any]) -> Config:
    """Settings that JSON has held."""
    tuples = {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
    return Config(**given | tuples)
