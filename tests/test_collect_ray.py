"""The same collection on a local Ray cluster of two workers."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from collect_fakes import MakeDying, broken_worker, lock_worker
from similar_fast.collect.collector import collect
from similar_fast.collect.ray_engine import RayEngine
from similar_fast.collect.worker import MakeWorker, Unit
from similar_fast.errors import EnvError

UNITS = [Unit("easy", seed) for seed in range(6)]


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    import ray  # noqa: PLC0415  # takes a second

    path = {"PYTHONPATH": os.pathsep.join(sys.path)}  # the workers import these tests' fakes
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": path},
    )
    yield
    ray.shutdown()


def collected(out: Path, make_worker: MakeWorker, workers: int = 2) -> bytes:
    summary = collect(RayEngine(make_worker, workers), UNITS, out=out, plan={})
    assert summary.is_complete
    return (out / "steps.jsonl").read_bytes()


def test_cluster_gives_the_file_of_one_process(tmp_path: Path) -> None:
    with lock_worker() as worker:
        expected = b"".join(line + b"\n" for u in UNITS for line in worker.label(u).lines)

    assert collected(tmp_path / "run", lock_worker) == expected


def test_worker_without_room_on_the_cluster_holds_nothing_up(tmp_path: Path) -> None:
    found = collected(tmp_path / "run", lock_worker, workers=3)

    assert found == collected(tmp_path / "again", lock_worker)


def test_killed_worker_is_started_again_and_nothing_is_lost(tmp_path: Path) -> None:
    make = MakeDying(Unit("easy", 3), tmp_path / "died")

    found = collected(tmp_path / "run", make)

    assert (tmp_path / "died").exists()
    assert found == collected(tmp_path / "again", lock_worker)


def test_worker_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EnvError, match="there is no lock"):
        collected(tmp_path / "run", broken_worker)
