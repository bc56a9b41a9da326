"""Every example in a docstring runs and gives what it says."""

import doctest
import importlib
import pkgutil

import pytest
import similar_fast

MODULES = [
    module.name
    for module in pkgutil.walk_packages(similar_fast.__path__, "similar_fast.")
    if not module.name.endswith("._core")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_there_are_examples() -> None:
    finder = doctest.DocTestFinder()
    found = [
        test
        for name in MODULES
        for test in finder.find(importlib.import_module(name))
        if test.examples
    ]

    assert len(found) >= 5
