"""The CUDA bench on the CPU with a tiny model: the same code, another device; nothing is timed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parent / "gpu" / "bench_cuda.py"


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cuda")


def run_bench(scratch: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCH), "--size", "tiny", "--device", "cpu", "--rounds", "2"]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(BENCH.parent.parent), *sys.path]),
    }
    return subprocess.run(  # noqa: S603  # our own bench
        [*command, "--scratch", str(scratch), *options],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )


def test_bench_in_float32_equals_transformers_with_and_without_its_cache(scratch: Path) -> None:
    done = run_bench(scratch, "--dtype", "fp32", "--json", "--out", str(scratch / "record.json"))

    assert done.returncode == 0, done.stderr
    record = json.loads((scratch / "record.json").read_text("utf-8"))
    assert json.loads(done.stdout) == record
    parity = record["parity"]
    assert max(parity[f"max_error_{name}"] for name in ("dims", "weights", "total")) < 1e-4
    assert parity["median_range_of_totals"] > 0.01
    assert parity["rank_agreement"] == parity["peer_cache_rank_agreement"] == 1
    assert record["transformers"]["attention"] == "sdpa"
    assert record["ours"]["memory_mib"] is None
    assert {len(times) for times in record["transformers"]["ms"].values()} == {2}


def test_bench_in_float16_prints_a_table_with_its_command(scratch: Path) -> None:
    done = run_bench(scratch, "--dtype", "fp16")

    assert done.returncode == 0, done.stderr
    assert "`python benches/gpu/bench_cuda.py --size tiny --device cpu" in done.stdout
    rows = [line for line in done.stdout.splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} == {7}
    assert [row.split("|")[1].strip() for row in rows[2:]] == [
        "new state, ms",
        "known state, ms",
        "new states a second",
        "device memory, MiB",
    ]


def test_bench_on_a_card_that_is_not_there_fails(scratch: Path) -> None:
    done = run_bench(scratch, "--dtype", "fp32", "--device", "cuda:77")

    assert done.returncode != 0
    assert "InferenceError" in done.stderr
    assert not done.stdout
