"""Every form that is read, in every encoding, whole and broken."""

import gzip
import json
import lzma
import time
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from published_forms import (
    FIELDS,
    csv_text,
    nested_json,
    preference_csv,
    preference_row,
    step_csv,
    step_row,
)
from similar_fast.errors import DataError
from similar_fast.records import PairRecord, Record, StepRecord, TrajectoryRecord, encode_record
from similar_fast.srm import csv_rows, lines
from similar_fast.srm import preference_csv as preference
from similar_fast.srm.encodings import decode, detect_encoding
from similar_fast.srm.forms import form_of
from similar_fast.srm.pairs import pairs_of_trajectories, trajectories_of_steps
from similar_fast.srm.published import action_texts
from similar_fast.srm.readers import read_data
from srm_records import FIVE, step, trajectory

WORDS = {
    "utf-8": "naïve 打开 ☂",
    "utf-8-sig": "naïve 打开 ☂",
    "gb2312": "打开设置、然后购买车票",
    "gbk": "打开設置、然後購買車票",
    "gb18030": "打开设置、然后购买车票 \U00020000",
    "iso-8859-1": "naïve déjà vu, ½ café ®",
}


def sample_pairs(words: str = "Buy a ticket") -> list[PairRecord]:
    better = replace(FIVE, odds_of_success=1, efficiency=0.5, coherence=1)
    first = trajectory("115_1", "ab", instruction=words)
    second = trajectory("115_2", "axy", instruction=words, labels=better)
    return list(pairs_of_trajectories([first, second]))


def read(path: Path, **options: object) -> list[Record]:
    return list(read_data(path, **options))


def set_aside(path: Path, **options: object) -> tuple[list[Record], list[tuple[int | None, bytes]]]:
    bad: list[tuple[int | None, bytes]] = []

    def on_bad(error: DataError, raw: bytes) -> None:
        assert error.path == path
        assert str(error).startswith(str(path))
        bad.append((error.line, raw))

    return list(read_data(path, on_bad=on_bad, **options)), bad


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# Encodings


@pytest.mark.parametrize("encoding", WORDS)
def test_the_preference_csv_is_read_in_each_encoding(encoding: str, tmp_path: Path) -> None:
    pairs = sample_pairs(WORDS[encoding])
    path = write(tmp_path / "webarena.csv", preference_csv(pairs).encode(encoding))

    found = read(path)

    assert {pair.instruction for pair in found} == {WORDS[encoding]}
    for ours, pair in zip(pairs, found, strict=True):
        assert (pair.type, pair.chosen, pair.rejected) == (ours.type, ours.chosen, ours.rejected)
        assert (pair.step, pair.history) == (ours.step, ours.history)
        assert (pair.chosen_label, pair.rejected_label) == (ours.chosen_label, ours.rejected_label)
        assert (pair.observation, pair.task) == (ours.observation, "115")
        assert (pair.environment, pair.platform) == ("webarena", "web")
        assert not pair.columns_swapped


@pytest.mark.parametrize("encoding", WORDS)
def test_an_encoding_is_detected(encoding: str) -> None:
    data = ("plain\n" + WORDS[encoding] + "\n").encode(encoding)

    assert detect_encoding(data) == encoding.removesuffix("-sig")


def test_plain_text_is_utf_8() -> None:
    assert detect_encoding(b"") == detect_encoding(b"plain\ntext") == "utf-8"


def test_accents_before_plain_letters_are_no_chinese() -> None:
    text = "détail élevage père"
    text.encode("iso-8859-1").decode("gbk")  # it could be read so

    assert detect_encoding(text.encode("iso-8859-1")) == "iso-8859-1"


def test_a_control_character_is_no_text() -> None:
    assert decode(b"caf\xe9", "iso-8859-1") == "café"
    with pytest.raises(UnicodeDecodeError):
        decode(b"it\x92s", "iso-8859-1")


@pytest.mark.parametrize("encoding", ["utf-8", "gb2312", "iso-8859-1"])
def test_a_row_in_another_encoding_is_set_aside(encoding: str, tmp_path: Path) -> None:
    rows = preference_csv(sample_pairs(WORDS[encoding])).encode(encoding).splitlines(keepends=True)
    starts = [i for i, line in enumerate(rows) if line.startswith(b"WebArena")]
    rows[starts[2]] = rows[starts[2]].replace(WORDS[encoding].encode(encoding), b"caf\x92\xff\x80")
    path = write(tmp_path / "webarena.csv", b"".join(rows))

    found, bad = set_aside(path)

    assert len(found) == len(starts) - 1
    assert [line for line, _ in bad] == [starts[2] + 1]
    assert b"\xff\x80" in bad[0][1]
    with pytest.raises(DataError, match=rf"webarena.csv:{starts[2] + 1}: no row: the byte 0x"):
        read(path)


# The preference CSV


def test_messages_win_over_swapped_columns(tmp_path: Path) -> None:
    pairs = sample_pairs()
    rows = [preference_row(pair, is_swapped=i % 2 == 0) for i, pair in enumerate(pairs)]
    path = write(tmp_path / "Reward_Model_OSWorld_Windows_test.csv", csv_text(FIELDS, rows))

    found = read(path)

    assert [(p.chosen, p.rejected) for p in found] == [(p.chosen, p.rejected) for p in pairs]
    assert [p.columns_swapped for p in found] == [i % 2 == 0 for i in range(len(pairs))]
    assert {(p.environment, p.platform) for p in found} == {("osworld", "windows")}


def test_a_file_without_messages_columns_and_scores_is_read(tmp_path: Path) -> None:
    row = {
        "compare_id": "OSWorld_Windows_OSWorld_Windows3_1_vs_OSWorld_Windows3_2",
        "step_idx": -1,
        "instruction": "Help",
        "type": "traj",
        "reason_steps": "Let's complete the task step by step. \n",
        "chosen": "Step 1 :  open \n\n\nStep 2 : DONE\n\n\n",
        "rejected": "Step 1 : DONE\n\n\n",
    }
    path = write(tmp_path / "x.csv", csv_text(row, [row]))

    (pair,) = read(path)

    assert (pair.task, pair.step, pair.history) == ("3", -1, ())
    assert (pair.chosen, pair.rejected) == ((" open \n", "DONE\n"), ("DONE\n",))
    assert pair.chosen_label is None


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"])).filter(lambda a: "Step" not in a))
)
def test_actions_come_back_out_of_their_text(actions: list[str]) -> None:
    text = "".join(f"Step {i} : {action}\n\n" for i, action in enumerate(actions, 1))

    assert (action_texts(text) or ()) == tuple(actions)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_action_comes_back_out_of_messages(action: str) -> None:
    said = [{"role": "user", "content": "x"}, {"role": "assistant", "content": action}]
    parts = [{"role": "assistant", "content": [{"type": "text", "text": action}]}]

    assert preference.messages_action(repr(said), "chosen") == action
    assert preference.messages_action(repr(parts), "chosen") == action


def test_an_unknown_escape_stands_for_itself() -> None:
    text = r"[{'role': 'assistant', 'content': 'a\d\\d\'s'}]"

    assert preference.messages_action(text, "chosen") == r"a\d\d's"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("[{'role': 'assistant'}]", "no text of the assistant"),
        ("[{'role': 'user', 'content': 'x'}]", "no text of the assistant"),
        ("[{'role': 'assistant', 'content': 'x'}", "no Python literal"),
        ("[{'role': 'assistant', 'content': __import__('os').getcwd()}]", "no plain list"),
        ("[{'role': 'assistant', 'content': f'{1}'}]", "no Python literal"),
        ("[{'a': 1+1}]", "no plain list"),
        ("[{'a': " + "[" * 5000 + "]" * 5000 + "}]", "no plain list"),
        ("[{" + "-" * 100_000 + "1: 2}]", "no Python literal"),
        ("[{'a': '" + "x" * 2**20 + "'}]", "characters; expected"),
        ("[{'a': 1}].x", "no Python literal"),
        ("[{1: 2}], 3", "is a tuple"),
        ("[{[]: 2}]", "no Python literal"),
        (r"[{'role': 'assistant', 'content': '\xz'}]", "no Python literal"),
    ],
)
def test_messages_that_are_none_are_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        preference.messages_action(text, "chosen")


def test_brackets_in_a_text_are_not_nested_lists() -> None:
    action = "type [1] [" + "[(" * 50 + "]"

    assert (
        preference.messages_action(repr([{"role": "assistant", "content": action}]), "chosen")
        == action
    )


# CSV itself


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


BIG = b"x" * (lines.MAX_LINE_BYTES + 5)


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


def test_a_file_of_stray_quotes_is_worked_off_in_time(tmp_path: Path) -> None:
    row = b'3_1,a "x,1,u,a,1,1,1,1,1\n'
    path = write(tmp_path / "x.csv", step_csv([]).encode() + row * 20_001)
    start = time.process_time()

    found, bad = set_aside(path, form="step-csv")

    assert found == []
    assert sum(raw.count(b"\n") for _, raw in bad) == 20_001
    assert time.process_time() - start < 20


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


# The step CSV and the nested document


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


# JSON lines


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


# Forms


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
