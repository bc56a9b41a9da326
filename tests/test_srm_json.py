"""The nested document and JSON lines, whole, packed and broken."""

import gzip
import json
import lzma
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from msgspec.structs import replace
from published_forms import (
    nested_json,
    step_row,
)
from similar_fast.errors import DataError
from similar_fast.records import TrajectoryRecord, encode_record
from similar_fast.srm.forms import form_of
from srm_files import BIG, WORDS, read, set_aside, write
from srm_records import step, trajectory


@pytest.mark.parametrize("indent", [None, 2])
def test_the_nested_document_keeps_its_string_order_and_its_gaps(
    indent: int | None, tmp_path: Path
) -> None:
    base = trajectory("OSWorld_Linux_109_1", "abcdefghijk", task="109")
    gap = replace(base, trajectory="OSWorld_Linux_109_2", steps=base.steps[1:3])
    path = write(tmp_path / "OSWorld_Linux.json", nested_json([base, gap], indent=indent))

    found = read(path)

    assert form_of(path) == "nested-json"
    assert [s.step for s in found[0].steps] == [1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9]
    assert [s.step for s in found[1].steps] == [2, 3]
    assert (found[0].task, found[0].instruction) == ("109", "Buy a ticket")
    assert sorted(found[0].steps, key=lambda s: s.step) == list(base.steps)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gbk", "iso-8859-1"])
def test_the_nested_document_is_read_in_other_encodings(encoding: str, tmp_path: Path) -> None:
    record = trajectory("1_1", "a", instruction=WORDS[encoding])
    text = json.dumps(json.loads(nested_json([record])), ensure_ascii=False)
    path = write(tmp_path / "x.json", text.encode(encoding))

    assert read(path)[0].instruction == WORDS[encoding]


@pytest.mark.parametrize("value", ["NaN", '"much"', "1e999", "[]", "true"])
def test_a_broken_trajectory_in_the_nested_document_costs_itself(
    value: str, tmp_path: Path
) -> None:
    base = [trajectory(f"1_{i}", "ab") for i in range(3)]
    text = nested_json(base, indent=1).replace('"IP": 0.5', f'"IP": {value}', 3)
    text = text.replace(f'"IP": {value}', '"IP": 0.5', 2)
    path = write(tmp_path / "x.json", text)

    found, bad = set_aside(path)

    if value == "NaN":  # no JSON at all
        assert (found, len(bad)) == ([], 1)
        assert bad[0][0] == text.split("NaN")[0].count("\n") + 1
    else:
        assert [record.trajectory for record in found] == ["1_0", "1_2"]
        assert bad[0][0] == text.split('"1_1"')[0].count("\n") + 1


def test_a_truncated_nested_document_says_where_it_ends(tmp_path: Path) -> None:
    text = nested_json([trajectory("1_1", "ab")], indent=1)
    path = write(tmp_path / "x.json", text[: len(text) // 2])

    with pytest.raises(DataError, match=r"x.json:\d+: no nested document"):
        read(path)


def test_lines_of_the_schema_and_published_trajectories_may_stand_in_one_file(
    tmp_path: Path,
) -> None:
    row = step_row(trajectory("115_1", "a"), 0)
    published = {
        "task": "115",
        "traj": "115_1",
        "split": "eval",
        "instruction": "Buy a ticket",
        "steps": [
            {
                "step": 1,
                "action": "a",
                "observation": "screen1",
                **{key: row[key] for key in ("IP", "E", "TC", "TR", "C")},
            }
        ],
    }
    ours = step("click")
    text = json.dumps(published).encode() + b"\n\n" + encode_record(ours)
    path = write(tmp_path / "osworld_windows.jsonl", text)

    first, second = read(path)

    assert second == ours
    assert isinstance(first, TrajectoryRecord)
    assert (first.environment, first.platform) == ("osworld", "windows")
    assert (first.is_scaled, first.split) == (True, "eval")
    assert first.steps == trajectory("115_1", "a").steps


@pytest.mark.parametrize("packed", [bytes, gzip.compress, lzma.compress])
def test_a_packed_file_is_read_whatever_its_name(
    packed: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    text = b"\xef\xbb\xbf" + b"".join(encode_record(step(a)) + b"\n" for a in "abc")
    path = write(tmp_path / "x.dat", packed(text))

    assert [record.action for record in read(path)] == ["a", "b", "c"]


@pytest.mark.parametrize("packed", [gzip.compress, lzma.compress])
def test_a_packed_file_that_ends_early_gives_what_is_there(
    packed: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    rows = [encode_record(step(sha256(b"%d" % i).hexdigest())) + b"\n" for i in range(3000)]
    data = packed(b"".join(rows))
    path = write(tmp_path / "x.jsonl.gz", data[: len(data) * 2 // 3])

    found, bad = set_aside(path)

    assert len(found) > 100
    assert [line for line, _ in bad] == [len(found) + 1] or len(bad) == 2
    with pytest.raises(DataError, match=r"no record|broken after"):
        read(path)


@pytest.mark.parametrize(
    "row",
    [
        b'{"kind":"step"}',
        b'{"kind":"step","environment":',
        b'{"kind":"horse"}',
        b"nonsense",
        b"[1]",
        b"\xff\xfe",
        b"{" * 100_000,
        encode_record(step("x")).replace(b"0.25", b"NaN"),
        encode_record(step("x")).replace(b"0.25", b'"0.25"'),
        encode_record(step("x")).replace(b"0.25", b"1e999"),
        encode_record(step("x")).replace(b'"step":1', b'"step":"1"'),
        encode_record(replace(step("x"), schema=2)),
        b'{"traj":"1","task":"2","instruction":"i","steps":[{"step":1,"action":"a","IP":NaN}]}',
        b'{"traj":"1","task":"2","instruction":"i","steps":[{"action":"a"}]}',
        b'{"a":"' + BIG + b'"}',
    ],
)
@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_broken_line_is_told_and_its_neighbours_are_kept(
    row: bytes, at: int, tmp_path: Path
) -> None:
    rows = [encode_record(step(a)) for a in "ab"]
    rows.insert(at, row)
    path = write(tmp_path / "x.jsonl", b"\n".join(rows))

    with pytest.raises(DataError) as caught:
        read(path)
    found, bad = set_aside(path)

    assert caught.value.line == at + 1
    assert [record.action for record in found] == ["a", "b"]
    assert [(line, raw.rstrip(b"\n")) for line, raw in bad] == [(at + 1, row[: len(BIG) - 5])]
