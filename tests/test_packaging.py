"""The built packages on a machine that has neither Rust nor the clone."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MINI = ROOT / "python" / "similar_fast_mini"

pytestmark = [pytest.mark.packaging, pytest.mark.timeout(1200)]


def call(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        check=False,
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, the wheel made from it, and the model's wheel."""
    out = tmp_path_factory.mktemp("dist")
    call(sys.executable, "-m", "maturin", "sdist", "--out", out, cwd=ROOT)
    sdist = next(out.glob("*.tar.gz"))
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", out)
    call(*pip, sdist, cwd=out)
    call(*pip, MINI, cwd=out)
    return out


def wheel(built: Path, name: str) -> Path:
    return next(built.glob(f"{name}-[0-9]*.whl"))


def test_wheel_is_one_for_all_pythons_and_holds_its_data(built: Path) -> None:
    path = wheel(built, "similar_fast")

    names = zipfile.ZipFile(path).namelist()

    assert "cp311-abi3" in path.name
    for wanted in ("py.typed", "_core.pyi", "report/search.html", "cli/__init__.py"):
        assert f"similar_fast/{wanted}" in names
    assert any(n.startswith("similar_fast/envs/") and n.endswith(".jsonl.gz") for n in names)
    assert any(n.startswith("similar_fast/envs/") and n.endswith(".js") for n in names)
    assert not any("test" in Path(n).parts[0] or n.endswith(".onnx") for n in names)


def test_wheel_is_small_and_the_model_is_apart(built: Path) -> None:
    assert wheel(built, "similar_fast").stat().st_size < 4e6
    assert wheel(built, "similar_fast_mini").stat().st_size < 50e6


def test_sdist_builds_alone(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = archive.getnames()

    assert any(name.endswith("/LICENSE") for name in names)
    assert any(name.endswith("/Cargo.lock") for name in names)


def test_installed_wheels_run_the_demo_without_rust_and_clone(built: Path, tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    call(sys.executable, "-m", "venv", venv, cwd=tmp_path)
    binaries = venv / ("Scripts" if os.name == "nt" else "bin")
    pip = (binaries / "python", "-m", "pip", "install", "--quiet")
    call(*pip, wheel(built, "similar_fast"), wheel(built, "similar_fast_mini"), cwd=tmp_path)
    bare = {"PATH": f"{binaries}:/usr/bin:/bin", "HOME": str(tmp_path), "LANG": "C.UTF-8"}

    out = call(binaries / "similar-fast", "demo", cwd=tmp_path, env=bare)

    assert "solved" in out
    assert (tmp_path / "similar-fast-demo.html").exists()
