"""The walls that import-linter cannot see: the Rust floors, the border, what an import brings."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = ROOT / "rust" / "core"
PACKAGE = ROOT / "python" / "similar_fast"

# A file of the core imports lower floors only. A folder stands on the floor of its module.
FLOORS = {
    "error": 0,
    "tree": 1,
    "queue": 1,
    "metrics": 1,
    "prefix": 1,
    "select": 2,
    "batcher": 2,
    "search": 3,
    "adaptive": 3,
}
MAY_TOUCH_RUST = {
    "__init__",
    "errors",
    "tree.search",
    "tree.adaptive",
    "batching",
    "metrics",
    "reward.prefix",
    "cli",
}
HEAVY = {
    "onnxruntime",
    "tokenizers",
    "torch",
    "PIL",
    "rich",
    "playwright",
    "miniwob",
    "psutil",
    "httpx2",
    "safetensors",
    "transformers",
    "peft",
}


def used_modules(source: str) -> set[str]:
    """The core's modules that a Rust source names; its tests and its comments do not count."""
    code = re.sub(r"//[^\n]*", "", source.split("#[cfg(test)]\nmod ", maxsplit=1)[0])
    names = set(re.findall(r"\bcrate::(\w+)", code))
    for group in re.findall(r"\bcrate::\{(.*?)\};", code, re.DOTALL):
        flat = group
        while (inner := re.sub(r"\{[^{}]*\}", "", flat)) != flat:
            flat = inner
        names |= {part.split("::")[0].strip() for part in flat.split(",")} - {""}
    return {"error" if name == "Error" else name for name in names}


def broken_floors(module: str, source: str) -> set[str]:
    """The modules that `module` must not use and does."""
    used = used_modules(source) - {module}
    return {name for name in used if FLOORS.get(name, 99) >= FLOORS[module]}


def imported_names(source: str) -> set[str]:
    """Every module that a Python source imports, in full."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(str(node.module))
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def module_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize(
    ("source", "used"),
    [
        ("use crate::Error;", {"error"}),
        ("use crate::{Error, queue::{Entry, Limits},\n  tree::Tree};", {"error", "queue", "tree"}),
        ("fn f(tree: &crate::tree::Tree) {}", {"tree"}),
        ("/// See [`Tree`](crate::tree::Tree).\nfn f() {}", set()),
        ("fn f() {}\n#[cfg(test)]\nmod tests { use crate::search::TreeSearch; }", set()),
    ],
)
def test_used_modules_reads_every_form_of_use(source: str, used: set[str]) -> None:
    assert used_modules(source) == used


def test_broken_floors_names_upper_floors_and_siblings() -> None:
    source = "use crate::{Error, queue::Entry, search::TreeSearch, nowhere::X};"

    assert broken_floors("tree", source) == {"queue", "search", "nowhere"}


def test_core_uses_lower_floors_only() -> None:
    files = [path for path in (CORE / "src").rglob("*.rs") if path.name != "lib.rs"]
    broken = {}
    seen = set()
    for path in files:
        module = path.relative_to(CORE / "src").parts[0].removesuffix(".rs")
        assert module in FLOORS, f"{path} stands on no floor; give it one in {__file__}"
        seen.add(module)
        if found := broken_floors(module, path.read_text(encoding="utf-8")):
            broken[str(path)] = found

    assert broken == {}
    assert seen == set(FLOORS)


def test_core_depends_on_no_python() -> None:
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text(encoding="utf-8"))
    needs = {package["name"]: package.get("dependencies", []) for package in lock["package"]}
    reached = {"similar-fast-core"}
    pending = ["similar-fast-core"]
    while pending:
        for need in needs[pending.pop()]:
            name = need.split(" ")[0]
            if name not in reached:
                reached.add(name)
                pending.append(name)

    assert "thiserror" in reached
    assert not {name for name in reached if name.startswith("pyo3") or name == "numpy"}


def test_only_the_named_modules_touch_rust() -> None:
    users = {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        for path in PACKAGE.rglob("*.py")
        if "similar_fast._core" in imported_names(path.read_text(encoding="utf-8"))
    }

    strangers = {
        user
        for user in users
        if not any(user == name or user.startswith(f"{name}.") for name in MAY_TOUCH_RUST)
    }

    assert strangers == set()
    assert "tree.search" in users


def test_nobody_inside_imports_the_facade() -> None:
    found = {
        f"{path.relative_to(PACKAGE)}: {name}"
        for path in PACKAGE.rglob("*.py")
        if module_of(path) not in {"__init__", "cli"}
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module == "similar_fast"
        for name in (alias.name for alias in node.names)
        if name != "_core"
    }

    assert found == set()


def test_import_loads_no_heavy_library() -> None:
    code = "import json, sys, similar_fast; print(json.dumps(sorted(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = {name.split(".")[0] for name in json.loads(shown.stdout)}

    assert {"numpy", "similar_fast"} <= loaded
    assert loaded & HEAVY == set()
