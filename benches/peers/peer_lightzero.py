"""LightZero 0.2.0: the C++ tree of its MuZero search, asked from Python once a simulation.

It batches over trees, one leaf of each tree a call, with Python lists at the border. Values are
float32 and are normalised by a running minimum and maximum; logits are given for every leaf, and
its children are made at once. It has no depth limit and no terminal nodes, and breaks ties at
random. The compiled module is loaded by itself, since its package imports a whole trainer.
"""

import importlib.machinery
import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from work import ROOT, exploration, extend, extend_all, value, value_all

PACKAGES = ("LightZero",)
C_BASE = 19652.0


def tree_module() -> ModuleType:
    """`mz_tree`, without the packages around it."""
    found = importlib.util.find_spec("lzero")
    if found is None or not found.submodule_search_locations:
        raise ImportError("no package lzero: LightZero is not installed")
    folder = Path(found.submodule_search_locations[0], "mcts/ctree/ctree_muzero")
    (path,) = folder.glob("mz_tree*.so")
    loader = importlib.machinery.ExtensionFileLoader("mz_tree", str(path))
    spec = importlib.util.spec_from_file_location("mz_tree", path, loader=loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def searcher(trees: int, branching: int, num_simulations: int) -> Callable[[], object]:
    """What runs whole searches; see `worker.py`."""
    module = tree_module()
    logits = [[0.0] * branching] * trees
    zeros, nobody = [0.0] * trees, [-1] * trees
    evaluate = one_leaf if trees == 1 else leaf_of_each

    def run() -> object:
        roots = module.Roots(trees, [list(range(branching))] * trees)
        roots.prepare_no_noise(zeros, logits, nobody)
        bounds = module.MinMaxStatsList(trees)
        bounds.set_delta(0.01)
        paths: list[Any] = [[ROOT] * trees if trees == 1 else np.full(trees, ROOT, np.uint64)]
        for number in range(1, num_simulations + 1):
            found = module.ResultsWrapper(num=trees)
            rows, columns, actions, _ = module.batch_traverse(
                roots, C_BASE, exploration(branching), 1.0, bounds, found, nobody
            )
            here, values = evaluate(paths, rows, columns, actions)
            paths.append(here)
            module.batch_backpropagate(number, 1.0, zeros, values, logits, bounds, found, nobody)
        return roots

    return run


def one_leaf(
    paths: list[Any], rows: list[int], columns: list[int], actions: list[int]
) -> tuple[list[int], list[float]]:
    """Path and value of the leaf of one tree."""
    here = extend(paths[rows[0]][columns[0]], actions[0])
    return [here], [value(here)]


def leaf_of_each(
    paths: list[Any], rows: list[int], columns: list[int], actions: list[int]
) -> tuple[Any, list[float]]:
    """Path and value of the leaf of every tree."""
    places = zip(rows, columns, strict=True)
    parents = np.array([paths[row][column] for row, column in places], np.uint64)
    here = extend_all(parents, np.asarray(actions))
    return here, value_all(here).tolist()


def visits(result: Any) -> list[int]:  # noqa: ANN401  # a compiled class without types
    """Completed simulations of each tree."""
    return [sum(counts) for counts in result.get_distributions()]
