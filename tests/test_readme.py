"""Every Python block of the README and the docs runs, top to bottom, and prints what it says."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import PIL.Image
import pytest
from similar_fast.cli import _parser

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELL = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PRINTED = re.compile(r"^print\(.*\)  # (.+)$", re.MULTILINE)
PRINTED_BELOW = re.compile(r"^    print\(.*\)\n((?:# .+\n)+)", re.MULTILINE)


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
    below = [line[2:] for said in PRINTED_BELOW.findall(source) for line in said.splitlines()]
    for said in (*PRINTED.findall(source), *below):
        assert said == "..." or said in printed


def commands() -> list[object]:
    """Every call of the command line in a block of shell, continued lines as one."""
    found = []
    for page in PAGES:
        shell = "\n".join(SHELL.findall(page.read_text())).replace("\\\n", " ")
        found += [
            pytest.param(line, id=f"{page.relative_to(ROOT)}: {line[13:60]}")
            for line in shell.splitlines()
            if line.startswith("similar-fast ")
        ]
    return found


@pytest.mark.parametrize("line", commands())
def test_command_is_one_that_the_command_line_takes(line: str) -> None:
    call = re.split(r" [|>] ", line)[0]

    _parser().parse_args(shlex.split(call, comments=True)[1:])


def test_the_readme_has_examples() -> None:
    assert len(BLOCK.findall((ROOT / "README.md").read_text())) >= 1
