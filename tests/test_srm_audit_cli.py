import gzip
import json
from pathlib import Path

import pytest
from audited import clean_pairs, clean_trajectories, with_step, write_rows
from msgspec.structs import replace
from published_forms import preference_csv
from similar_fast.cli import main
from similar_fast.dimensions import Dimension
from similar_fast.records import encode_record
from similar_fast.srm.audit.report import CHECKS, audit_data


def run(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, str, str]:
    code = main(["audit", *map(str, argv)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "clean.jsonl", clean_trajectories())


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    """A blank line, then pairs of which the third has its labels turned, then a broken row."""
    pairs = clean_pairs()
    third = replace(
        pairs[2], chosen_label=pairs[2].rejected_label, rejected_label=pairs[2].chosen_label
    )
    path = write_rows(tmp_path / "pairs.jsonl", [*pairs[:2], third, *pairs[3:]])
    whole = path.read_bytes()
    path.write_bytes(b"\n" + whole + b'{"kind": "pair", "task"\n')
    return path


def test_clean_file_exits_0_and_says_so(clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, clean)

    assert (code, err) == (0, "")
    assert "1 file: 0 pairs, 144 steps, 48 whole trajectories" in out
    assert "nothing was found" in out


def test_a_step_rule_is_not_applicable_to_pairs_of_one_step(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    steps = [pair for pair in clean_pairs() if pair.type is not Dimension.TRAJECTORY]

    _, alone, _ = run(capsys, write_rows(tmp_path / "steps.jsonl", steps))
    _, both, _ = run(capsys, write_rows(tmp_path / "pairs.jsonl", clean_pairs()))

    row = next(line for line in alone.splitlines() if " later step " in line)
    assert row.count("not applicable") == 2
    assert "not applicable" not in both
    assert "(traj alone)" in next(line for line in both.splitlines() if " later step " in line)


def test_faults_exit_1_and_name_file_and_line(
    faulty: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, faulty)
    lines = out.splitlines()

    assert code == 1
    assert "faults" in lines
    at = lines.index("  label-order (1): pairs whose chosen label is below the rejected label")
    assert lines[at + 1].startswith(f"      {faulty}:4: ")
    bad = next(i for i, line in enumerate(lines) if line.startswith("  bad-rows (1): "))
    assert lines[bad + 1].startswith(f"      {faulty}:{len(clean_pairs()) + 2}: ")


def test_json_is_one_document_with_the_same(
    faulty: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, faulty, "--json")

    document = json.loads(out)
    assert code == 1
    assert document["is_clean"] is False
    assert document["n_pairs"] == len(clean_pairs())
    assert document["checks"] == list(CHECKS)
    assert {finding["check"] for finding in document["findings"]} == {"bad-rows", "label-order"}
    (rule, *_) = document["shortcuts"]
    assert rule["rule"] == "length"
    assert [judged["split"] for judged in rule["judged"]] == ["train", "eval"]


def test_notes_alone_exit_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, *rest = clean_trajectories()
    icon = with_step(first, 1, action="click '\ue608 CATALOG'")
    path = write_rows(tmp_path / "icons.jsonl", [icon, *rest])

    code, out, _ = run(capsys, path)

    assert code == 0
    assert "notes" in out.splitlines()
    assert "private use" in out


def test_only_runs_what_is_named(faulty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, faulty, "--only", "leaks,duplicates", "--json")

    document = json.loads(out)
    assert code == 0
    assert document["checks"] == ["leaks", "duplicates"]
    assert document["shortcuts"] == []


def test_max_examples_0_shows_none(faulty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, faulty, "--max-examples", 0, "--only", "label-order")

    assert "label-order (1)" in out
    assert f"{faulty}:" not in out


def test_checks_lists_every_check(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--checks", "--json")

    assert code == 0
    described = json.loads(out)
    assert list(described) == list(CHECKS)
    assert all(described.values())


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ((), "no file to audit"),
        (("missing.jsonl",), "missing.jsonl"),
        (("missing.jsonl", "--only", "leeks"), "no check 'leeks'"),
        (("missing.jsonl", "--max-examples", "-1"), "at least 0"),
    ],
)
def test_what_cannot_be_done_is_an_error(
    argv: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, *argv)

    assert (code, out) == (3, "")
    assert message in err


def test_split_comes_from_the_name_of_the_file(tmp_path: Path) -> None:
    whole = [replace(record, split="") for record in clean_trajectories()]
    train = write_rows(tmp_path / "srm_train.jsonl", whole)
    held = write_rows(tmp_path / "srm-eval.jsonl", whole[:4])

    report = audit_data([train, held], only=["leaks"])

    assert {finding.words.split(" ")[0] for finding in report.findings} == {
        "tasks",
        "trajectories",
        "instructions",
        "steps",
    }


def test_files_in_different_encodings_are_found(tmp_path: Path) -> None:
    first, second = clean_trajectories()[:2]
    utf8 = write_rows(tmp_path / "a.jsonl", [replace(first, instruction="déjà vu")])
    gbk = tmp_path / "b.csv"
    gbk.write_bytes("step,action\n1,打开设置\n".encode("gbk"))
    other = write_rows(tmp_path / "c.jsonl", [second])

    mixed = audit_data([utf8, gbk], only=["encodings"])
    same = audit_data([utf8, other], only=["encodings"])

    (finding,) = mixed.findings
    assert "different encodings (gb2312, utf-8)" in finding.words
    assert same.findings == ()


def test_progress_is_told_of_files_and_checks(clean: Path) -> None:
    told: list[str] = []

    audit_data([clean], progress=told.append)

    assert told == ["reading clean.jsonl", *CHECKS]


def test_a_packed_file_is_audited_with_its_lines(tmp_path: Path) -> None:
    pairs = clean_pairs()
    wrong = replace(pairs[5], chosen_label=0.5, rejected_label=0.5)
    rows = b"".join(encode_record(record) + b"\n" for record in (*pairs[:5], wrong))
    path = tmp_path / "pairs.jsonl.gz"
    path.write_bytes(gzip.compress(rows))

    (finding,) = audit_data([path], only=["label-order"]).findings

    assert finding.examples[0].place == f"{path}:6"


def write_csv(path: Path, *, as_published: bool) -> Path:
    """The clean pairs in the published form; each file names its own split."""
    pairs = [p for p in clean_pairs(as_published=as_published) if p.split in path.stem]
    path.write_text(preference_csv(pairs), encoding="gbk")
    return path


def test_faults_of_the_published_builder_are_found_in_its_own_form(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "webarena_train.csv", as_published=True)
    swap = "chosen_action,rejected_action"
    text = path.read_text(encoding="gbk")
    path.write_text(text.replace(swap, "rejected_action,chosen_action", 1), encoding="gbk")

    report = audit_data([path], only=["swapped-columns", "lost-pairs"])

    swapped, lost = report.findings
    assert (swapped.check, swapped.count) == ("swapped-columns", report.n_pairs)
    assert swapped.examples[0].place.startswith(f"{path}:")
    assert (lost.check, lost.severity) == ("lost-pairs", "fault")


def test_a_good_file_of_the_published_form_is_clean(tmp_path: Path) -> None:
    files = [
        write_csv(tmp_path / f"webarena_{split}.csv", as_published=False)
        for split in ("train", "eval")
    ]

    report = audit_data(files)

    assert report.findings == ()
    assert report.n_pairs == len(clean_pairs())
