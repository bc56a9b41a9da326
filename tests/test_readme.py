"""Every Python block of the README and the docs runs, top to bottom, and prints what it says."""

import re
from collections.abc import Callable
from pathlib import Path

import PIL.Image
import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PRINTED = re.compile(r"^print\(.*\)  # (.+)$", re.MULTILINE)


def blocks() -> list[object]:
    found = []
    for page in PAGES:
        for number, match in enumerate(BLOCK.finditer(page.read_text()), start=1):
            source = match.group(1)
            needs_browser = "MiniWob()" in source
            found.append(
                pytest.param(
                    source,
                    id=f"{page.relative_to(ROOT)}:{number}",
                    marks=[pytest.mark.browser] if needs_browser else [],
                )
            )
    return found


@pytest.mark.parametrize("source", blocks())
def test_block_runs_and_prints_what_it_says(
    source: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    exported: Callable[[str], tuple[Path, Path]],
) -> None:
    monkeypatch.chdir(tmp_path)
    if "similar-2b" in source:
        (tmp_path / "similar-2b").symlink_to(exported("qwen2_vl")[1])
        PIL.Image.new("RGB", (160, 90)).save(tmp_path / "screen.png")

    exec(compile(source, "<block>", "exec"), {"__name__": "__main__"})  # noqa: S102  # our own text

    printed = capsys.readouterr().out.splitlines()
    for said in PRINTED.findall(source):
        assert said in printed


def test_the_readme_has_examples() -> None:
    assert len(BLOCK.findall((ROOT / "README.md").read_text())) >= 1
