"""What is written comes back as it was, and others can read it."""

import gzip
import lzma
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from similar_fast.errors import DataError
from similar_fast.records import Labels, Provenance, Record
from similar_fast.srm.forms import form_of
from similar_fast.srm.readers import read_data
from similar_fast.srm.writers import SUFFIXES, write_data
from srm_records import FIVE, records, step, trajectory

SAME_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("suffix", SUFFIXES)
@SAME_FOLDER
@given(rows=st.lists(records, max_size=4))
def test_what_was_written_is_read(suffix: str, tmp_path: Path, rows: list[Record]) -> None:
    path = tmp_path / f"x{suffix}"

    written = write_data(path, rows)

    assert written == len(rows)
    assert list(read_data(path)) == rows


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_many_rows_come_back_in_order_and_the_bytes_are_the_same(
    suffix: str, tmp_path: Path
) -> None:
    rows: list[Record] = [step(f"click {i}", seed=i if i % 2 else None) for i in range(9000)]
    rows += [trajectory("1_1", "abc")]
    first, second = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"

    write_data(first, rows)
    write_data(second, iter(rows))

    told: list[int] = []
    assert list(read_data(first, report=told.append)) == rows
    assert first.read_bytes() == second.read_bytes()
    assert told == sorted(told)
    assert told[-1] <= first.stat().st_size


def test_the_suffix_says_what_is_written(tmp_path: Path) -> None:
    contents = {}
    for suffix in SUFFIXES:
        write_data(tmp_path / f"x{suffix}", [step("a")])
        contents[suffix] = (tmp_path / f"x{suffix}").read_bytes()

    plain = contents[".jsonl"]
    assert gzip.decompress(contents[".jsonl.gz"]) == plain
    assert lzma.decompress(contents[".jsonl.xz"]) == plain
    assert form_of(tmp_path / "x.parquet") == "parquet"
    with pytest.raises(ValueError, match=r"'x.csv' ends with none of .jsonl"):
        write_data(tmp_path / "x.csv", [])
    with pytest.raises(FileNotFoundError, match="the folder"):
        write_data(tmp_path / "none" / "x.jsonl", [])


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (step("a", labels=Labels(helpfulness=float("nan"))), "NaN or infinite"),
        (trajectory("1", "ab", labels=Labels(coherence=float("inf"))), "NaN or infinite"),
        (step("a", provenance=Provenance(remaining=float("nan"))), "NaN or infinite"),
        (step("\ud800"), "no Unicode|fits no column"),
    ],
)
def test_what_cannot_be_read_again_is_not_written(
    suffix: str, bad: Record, words: str, tmp_path: Path
) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(b"old")

    with pytest.raises(DataError, match=words):
        write_data(path, [step("a"), bad])

    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_of_the_records_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl.gz"
    write_data(path, [step("old")])

    def broken() -> Iterator[Record]:
        yield step("new")
        raise DataError("gone")

    with pytest.raises(DataError, match="gone"):
        write_data(path, broken())

    assert [record.action for record in read_data(path)] == ["old"]


def test_others_can_query_the_parquet_file(tmp_path: Path) -> None:
    rows: list[Record] = [
        step("a", labels=replace(FIVE, helpfulness=h), provenance=Provenance(rollouts=12))
        for h in (0.25, None, 0.75)
    ]
    path = tmp_path / "x.parquet"
    write_data(path, [*rows, trajectory("1_1", "abc")])

    table = pq.read_table(path)
    frame = pd.read_parquet(path)

    steps = table.filter(pc.field("kind") == "step")
    helpfulness = pc.struct_field(steps["labels"], "helpfulness")
    assert pc.mean(helpfulness).as_py() == 0.5
    assert helpfulness.null_count == 1
    assert pc.sum(pc.struct_field(steps["provenance"], "rollouts")).as_py() == 36
    assert pc.list_value_length(table["steps"]).to_pylist() == [None, None, None, 3]
    assert table["split"].to_pylist() == [""] * 4
    assert set(table["schema"].to_pylist()) == {1}
    assert frame["environment"].value_counts().to_dict() == {"miniwob": 3, "webarena": 1}
    assert frame[frame.kind == "step"].labels.map(lambda five: five["efficiency"]).sum() == -1.5


def test_a_file_that_another_program_wrote_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    rows = [
        {
            "kind": "step",
            "environment": "shop",
            "task": "t",
            "trajectory": "1",
            "step": i,
            "instruction": "i",
            "action": "a",
            "labels": {"coherence": i},
            "extra": "?",
        }
        for i in range(2)
    ]
    columns = pa.Table.from_pylist(rows).to_pydict()
    columns["environment"] = pa.array(columns["environment"]).dictionary_encode()
    columns["task"] = pa.array(columns["task"], pa.large_string())
    pq.write_table(pa.table(columns), path)

    found = list(read_data(path))

    assert [(r.environment, r.task, r.step, r.labels.coherence) for r in found] == [
        ("shop", "t", 0, 0.0),
        ("shop", "t", 1, 1.0),
    ]


def test_a_broken_row_of_a_parquet_file_costs_itself(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    write_data(path, [step(action) for action in "abcd"])
    table = pq.read_table(path).to_pylist()
    table[1]["labels"]["coherence"] = float("nan")
    table[2]["step"] = None
    table[3]["schema"] = 7
    pq.write_table(pa.Table.from_pylist(table), path)
    bad: list[tuple[int | None, str]] = []

    found = list(read_data(path, on_bad=lambda err, raw: bad.append((err.line, str(err)))))

    assert [record.action for record in found] == ["a"]
    assert [line for line, _ in bad] == [2, 3, 4]
    assert "NaN or infinite" in bad[0][1]
    assert "missing required field `step`" in bad[1][1]
    assert "schema 7; expected 1" in bad[2][1]


@pytest.mark.parametrize("keep", [4, 200, -9])
def test_a_truncated_parquet_file_is_an_error_that_says_so(keep: int, tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    write_data(path, [step("a")])
    path.write_bytes(path.read_bytes()[:keep])

    with pytest.raises(DataError, match="the Parquet file is broken after 0 rows"):
        list(read_data(path))


def test_a_number_that_fits_no_column_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a record of 1 to 2 fits no column"):
        write_data(tmp_path / "x.parquet", [step("a"), step("b", seed=2**70)])


def test_without_pyarrow_the_error_says_which_extra_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_data(tmp_path / "x.parquet", [step("a")])
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    with pytest.raises(ImportError, match=r"similar-fast\[data\]"):
        list(read_data(tmp_path / "x.parquet"))
    with pytest.raises(ImportError, match=r"similar-fast\[data\]"):
        write_data(tmp_path / "y.parquet", [])
    assert not (tmp_path / "y.parquet").exists()
