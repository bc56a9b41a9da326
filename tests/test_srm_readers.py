"""What form a file has, and what its name tells."""

import gzip
from pathlib import Path

import pytest
from published_forms import (
    nested_json,
    preference_csv,
    step_csv,
)
from similar_fast.errors import DataError
from similar_fast.records import encode_record
from similar_fast.srm.forms import form_of
from srm_files import read, sample_pairs, set_aside, write
from srm_records import step, trajectory


def test_a_form_is_seen_from_the_content(tmp_path: Path) -> None:
    contents = {
        "jsonl": encode_record(step("a")),
        "preference-csv": preference_csv(sample_pairs()).encode(),
        "step-csv": step_csv([trajectory("1_1", "a")]).encode(),
        "nested-json": nested_json([trajectory("1_1", "a")]).encode(),
    }

    for form, data in contents.items():
        for packed in (data, gzip.compress(data), b"\xef\xbb\xbf" + data):
            assert form_of(write(tmp_path / "wrong.txt", packed)) == form
    assert read(write(tmp_path / "empty.csv", b"")) == []


def test_no_form_at_all_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", b"hello\nworld\n")

    with pytest.raises(DataError, match="no form that is known: it begins with b'hello'"):
        read(path)
    assert set_aside(path)[1] == [(1, b"")]
    with pytest.raises(ValueError, match="the form is 'yaml'"):
        read(path, form="yaml")
    with pytest.raises(ValueError, match="the platform is 'mac'"):
        read(write(path, b""), platform="mac")
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none.jsonl")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("webarena.jsonl", ("webarena", "web")),
        ("Reward_Model_VisualWebArena_test.csv", ("visualwebarena", "web")),
        ("osworld_linux.jsonl.gz", ("osworld", "linux")),
        ("Reward_Model_OSWorld_Windows.csv", ("osworld", "windows")),
        ("Android_World.csv", ("android_world", "android")),
        ("mine.csv", ("mine", "web")),
    ],
)
def test_the_environment_is_taken_from_the_name(
    name: str, expected: tuple[str, str], tmp_path: Path
) -> None:
    path = write(tmp_path / name, nested_json([trajectory("1_1", "a")]))

    (record,) = read(path)

    assert (record.environment, record.platform) == expected


def test_progress_grows_to_the_size_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", (encode_record(step("a")) + b"\n") * 3500)
    told: list[int] = []

    assert len(read(path, report=told.append)) == 3500

    assert told == sorted(told)
    assert len(told) == 3
    assert 0 < told[-1] <= path.stat().st_size
