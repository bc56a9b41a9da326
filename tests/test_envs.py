"""What the environments say where something they need is missing; no browser is started."""

import importlib.util
import sys
from pathlib import Path

import pytest
from similar_fast.envs import miniwob
from similar_fast.envs.browser import EXECUTABLE_VARIABLE, Browser, find_chromium
from similar_fast.errors import EnvError

EXTRA = r'pip install "similar-fast\[envs\]"'


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "chromium"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_find_chromium_takes_the_argument_first(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(EXECUTABLE_VARIABLE, "/no/browser")

    assert find_chromium(str(program)) == str(program)


def test_find_chromium_takes_the_variable_before_the_path(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(EXECUTABLE_VARIABLE, str(program))
    monkeypatch.setenv("PATH", "")

    assert find_chromium() == str(program)


def test_find_chromium_looks_on_the_path(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(EXECUTABLE_VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(program.parent))

    assert find_chromium() == str(program)


def test_find_chromium_none_on_the_path_is_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(EXECUTABLE_VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert find_chromium() is None


def test_find_chromium_named_file_that_is_no_program_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EnvError, match="which is no program that can be run"):
        find_chromium(str(tmp_path))


def test_browser_without_playwright_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "playwright.async_api", None)

    with pytest.raises(ImportError, match=EXTRA):
        Browser()


def test_tasks_without_the_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    miniwob._pages.cache_clear()

    with pytest.raises(ImportError, match=EXTRA):
        miniwob.tasks()


def test_screen_digest_depends_on_each_part() -> None:
    digests = {
        miniwob.screen_digest(instruction, text, is_done=is_done)
        for instruction in ("a", "b")
        for text in ("a", "b")
        for is_done in (False, True)
    }

    assert len(digests) == 8
    assert all(len(digest) == 16 for digest in digests)
