"""What several test files share: exported reward models, and pages of a real browser."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

Export = Callable[[str], tuple[Path, Path]]


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Export:
    """Called with a family: (its checkpoint, its model folder); float32, heads drawn at random."""
    import checkpoints  # noqa: PLC0415  # torch and transformers take seconds
    from similar_fast_export.reward_model import (  # noqa: PLC0415  # as above
        ExportOptions,
        export_reward_model,
    )

    @cache
    def export(family: str) -> tuple[Path, Path]:
        root = tmp_path_factory.mktemp(family)
        checkpoints.write_checkpoint(root / "checkpoint", family)
        export_reward_model(root / "checkpoint", root / "model", ExportOptions(random_heads=0))
        return root / "checkpoint", root / "model"

    return export


@pytest.fixture
def shipped_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Path]:
    """Called with `kind=folder`: the installed package then ships these models alone."""
    from similar_fast.models import shipped  # noqa: PLC0415  # most tests need it not

    package = tmp_path / "similar_fast_mini"
    elsewhere = shipped.importlib.resources.files

    def ship(**models: Path) -> Path:
        package.mkdir()
        for kind, folder in models.items():
            (package / kind).symlink_to(folder, target_is_directory=True)
        monkeypatch.setattr(
            shipped.importlib.resources,
            "files",
            lambda name: package if name == package.name else elsewhere(name),
        )
        return package

    return ship


@pytest.fixture
def shipped_reward(exported: Export, shipped_folder: Callable[..., Path]) -> Path:
    """A small random reward model, which stands in for the one of `similar_fast_mini`."""
    import similar_fast_mini  # noqa: PLC0415  # as above

    folder = exported("bert")[1]
    shipped_folder(reward=folder, embedding=Path(similar_fast_mini.__file__).parent / "embedding")
    return folder


@pytest.fixture(scope="module")
def browser_page() -> "Iterator[Page]":
    """A page of a real Chromium, for the tests of one file."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  # most tests need no browser
    from similar_fast.envs.browser import find_chromium  # noqa: PLC0415  # as above

    chromium = find_chromium()
    assert chromium is not None, "these tests need Chromium: run `make chromium`"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(20_000)
        yield page
        browser.close()


@pytest.fixture
def faults(browser_page: "Page") -> Iterator[list[str]]:
    """What the page complained of, and every request beyond the file itself."""
    found: list[str] = []

    def on_request(request: object) -> None:
        url = request.url  # type: ignore[attr-defined]
        if not (url.startswith("file:") and url.endswith(".html")) and not url.startswith("data:"):
            found.append(url)

    def on_error(error: object) -> None:
        found.append(str(error))

    def on_console(message: object) -> None:
        found.append(message.text)  # type: ignore[attr-defined]

    browser_page.on("request", on_request)
    browser_page.on("pageerror", on_error)
    browser_page.on("console", on_console)
    yield found
    browser_page.remove_listener("request", on_request)
    browser_page.remove_listener("pageerror", on_error)
    browser_page.remove_listener("console", on_console)
