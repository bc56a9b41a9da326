"""Rows of CSV, whole and broken, and the step CSV."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from published_forms import (
    csv_text,
    step_csv,
)
from similar_fast.errors import DataError
from similar_fast.records import StepRecord
from similar_fast.srm import csv_rows
from similar_fast.srm.pairs import trajectories_of_steps
from srm_files import BIG, read, set_aside, write
from srm_records import trajectory


@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from('",\n'))))
def test_a_row_splits_as_the_csv_module_wrote_it(fields: list[str]) -> None:
    fields = fields or ["x"]
    names = [str(i) for i in range(len(fields))]
    text = csv_text(names, [dict(zip(names, fields, strict=True))])

    assert csv_rows.split_row(text.split("\r\n", 1)[1]) == fields


def corrupted(path: Path, change: Callable[[list[bytes]], Iterable[bytes]]) -> Path:
    """A step CSV of nine rows, an action of the fifth one over two lines, changed."""
    records = [trajectory(f"{i}_1", f"{i}", task=str(i), instruction="☂") for i in range(9)]
    text = step_csv(records).replace(",4,", ',"4\r\n4",').encode()
    rows = text.split(b"\r\n")
    rows = [row + b"\r\n" for row in [*rows[:5], rows[5] + b"\r\n" + rows[6], *rows[7:-1]]]
    assert len(rows) == 10
    return write(path, b"".join(change(rows)))


def put(index: int, row: bytes) -> Callable[[list[bytes]], Iterable[bytes]]:
    return lambda rows: [*rows[:index], row, *rows[index + 1 :]]


@pytest.mark.parametrize(
    ("change", "line", "words"),
    [
        (put(4, b"nonsense\r\n"), 5, "the row has 1 fields; expected 10"),
        (put(4, b'3_1,"never closed,1,u,a,1,1,1,1,1\r\n'), 5, "no row: "),
        (put(4, b'3_1,i "q" x,1,u,a,1,1,1,1,1\r\n'), 5, "quoted in part"),
        (put(4, b"3_1,i,1,u,a,nan,1,1,1,1\r\n"), 5, "the label IP is 'nan'"),
        (put(4, b"3_1,i,1,u,a,1e999,1,1,1,1\r\n"), 5, "the label IP is '1e999'"),
        (put(4, b"3_1,i,1,u,a,much,1,1,1,1\r\n"), 5, "the label IP is 'much'"),
        (put(4, b"3_1,i,one,u,a,1,1,1,1,1\r\n"), 5, "the step is 'one'"),
        (put(4, b"3_1,i\0,1,u,a,1,1,1,1,1\r\n"), 5, "a NUL byte"),
        (put(4, b"3_1,i\xff\xfe,1,u,a,1,1,1,1,1\r\n"), 5, "the byte 0xff is no utf-8"),
        (put(4, b'3_1,"\n\xff",1,u,a,1,1,1,1,1\r\n'), 6, "the byte 0xff is no utf-8"),
        (put(4, BIG + b",i,1,u,a,1,1,1,1,1\r\n"), 5, "more than the 16777216 bytes"),
        (put(4, b'3_1,"' + b"x\n" * 11_000 + b'",1,u,a,1,1,1,1,1\r\n'), 5, "a quote is not closed"),
        (put(5, b'4_1,"two\nlines",only\r\n'), 6, "the row has 3 fields; expected 10"),
        (put(9, b"8_1,i,1,u,a,1,1"), 11, "the row has 7 fields; expected 10"),
        (put(9, b'8_1,i,1,"u'), 11, "a quote is not closed"),
    ],
)
def test_a_broken_row_is_told_by_its_line_and_costs_no_neighbour(
    change: Callable[[list[bytes]], Iterable[bytes]], line: int, words: str, tmp_path: Path
) -> None:
    path = corrupted(tmp_path / "webarena.csv", change)

    with pytest.raises(DataError, match=words) as caught:
        read(path, form="step-csv")
    found, bad = set_aside(path, form="step-csv")

    assert (caught.value.path, caught.value.line) == (path, line)
    kept = {record.task for record in found}
    assert bad[0][0] == line
    if b"x\n" not in bad[0][1]:
        assert len(found) == 8
        assert len(bad) == 1
    assert len(kept) == 8
    assert b"".join(raw for _, raw in bad)[:9_000] in path.read_bytes()


@pytest.mark.timeout(120)
def test_a_file_of_stray_quotes_is_worked_off(tmp_path: Path) -> None:
    row = b'3_1,a "x,1,u,a,1,1,1,1,1\n'
    path = write(tmp_path / "x.csv", step_csv([]).encode() + row * 20_001)

    found, bad = set_aside(path, form="step-csv")

    assert found == []
    assert sum(raw.count(b"\n") for _, raw in bad) == 20_001


def test_an_open_quote_before_a_line_that_is_too_long_hides_neither(tmp_path: Path) -> None:
    def change(rows: list[bytes]) -> list[bytes]:
        return [*rows[:3], b'2_1,"open,1\r\n', BIG + b"\r\n", *rows[5:]]

    path = corrupted(tmp_path / "x.csv", change)

    found, bad = set_aside(path, form="step-csv")

    assert len(found) == 7
    assert [line for line, _ in bad] == [4, 5]


def test_blank_lines_between_rows_are_nothing(tmp_path: Path) -> None:
    path = corrupted(tmp_path / "x.csv", lambda rows: [row + b"\r\n\n" for row in rows])

    assert len(read(path)) == 9


def test_the_step_csv_is_read_under_its_published_names(tmp_path: Path) -> None:
    base = [trajectory("OSWorld_Linux_115_1", "ab"), trajectory("OSWorld_Linux_115_2", "c")]
    path = write(tmp_path / "Reward_Model_OSWorld_Linux.csv", step_csv(base))

    found = read(path)

    assert all(isinstance(record, StepRecord) and record.is_scaled for record in found)
    assert [(r.task, r.step, r.action) for r in found] == [
        ("115", 1, "a"),
        ("115", 2, "b"),
        ("115", 1, "c"),
    ]
    again = [(t.trajectory, t.steps) for t in trajectories_of_steps(found)]
    assert again == [(t.trajectory, t.steps) for t in base]


def test_other_names_of_columns_are_taken(tmp_path: Path) -> None:
    text = "Task,Traj,Step,Goal,Action,Helpfulness,OS,extra\n7,t,2.0,Buy,click,,0.5,?\n"
    path = write(tmp_path / "mine.csv", text)

    (record,) = read(path, environment="shop", platform="android")

    assert (record.task, record.trajectory, record.step) == ("7", "t", 2)
    assert record.labels.values()[1] == 0.5
    assert record.labels.helpfulness is None
    assert (record.environment, record.platform) == ("shop", "android")


def test_a_task_column_beside_the_trajectory_is_the_task(tmp_path: Path) -> None:
    path = write(tmp_path / "m.csv", "task_ID,traj,step,instruction,action,IP\nt,x,1,i,a,1\n")

    (record,) = read(path)

    assert (record.task, record.trajectory) == ("t", "x")


@pytest.mark.parametrize(
    "header", ["task_ID,step,instruction,IP", "task_ID,step,action,instruction"]
)
def test_a_header_that_lacks_something_says_what(header: str, tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", header + "\n")

    with pytest.raises(DataError, match=r"no header: .*(action is missing|no label)"):
        read(path, form="step-csv")
