import math
from collections.abc import Callable, Sequence

import pytest
from audited import (
    audit_records,
    clean_pairs,
    clean_steps,
    clean_trajectories,
    of_check,
    with_step,
)
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from similar_fast.dimensions import Dimension
from similar_fast.records import Labels, PairRecord, Record
from similar_fast.srm.audit.broken_text import misread
from similar_fast.srm.audit.report import CHECKS
from similar_fast.srm.audit.texts import masked, normalised

Records = list[Record]
Planted = Callable[[], Records]


def step_pair(number: int = 0, **changes: object) -> list[PairRecord]:
    """The clean pairs, one of a step changed."""
    pairs = clean_pairs()
    steps = [i for i, pair in enumerate(pairs) if pair.type is not Dimension.TRAJECTORY]
    pairs[steps[number]] = replace(pairs[steps[number]], **changes)
    return pairs


def changed(index: int = 0, **changes: object) -> Records:
    """The clean trajectories, the first of them with one step changed."""
    first, *rest = clean_trajectories()
    return [with_step(first, index, **changes), *rest]


def relabelled(**changes: float | None) -> Records:
    return changed(1, labels=replace(clean_trajectories()[0].steps[1].labels, **changes))


def numbered(*numbers: int) -> Records:
    """The clean trajectories, the steps of the first of them numbered anew."""
    first, *rest = clean_trajectories()
    steps = tuple(
        replace(first.steps[min(i, 2)], step=number, action=f"click {'abcdefghijklmn'[i]}")
        for i, number in enumerate(numbers)
    )
    return [replace(first, steps=steps), *rest]


def of_both_splits() -> tuple[list[int], Records]:
    """Where the first trajectory of each split stands, and all of them."""
    records = clean_trajectories()
    splits = [record.split for record in records]
    return [splits.index("train"), splits.index("eval")], list(records)


def moved_task() -> Records:
    (train, _), records = of_both_splits()
    records[train] = replace(records[train], split="eval")
    return records


def borrowed_instruction() -> Records:
    (train, held), records = of_both_splits()
    instruction = f"  {records[train].instruction.upper()}! "
    return [
        replace(r, instruction=instruction) if r.task == records[held].task else r for r in records
    ]


def swapped_labels() -> Records:
    pair = next(p for p in clean_pairs() if p.type is Dimension.EFFICIENCY)
    return [
        replace(pair, chosen_label=pair.rejected_label, rejected_label=pair.chosen_label),
        *(p for p in clean_pairs() if p != pair),
    ]


def columns() -> Records:
    return list(step_pair(columns_swapped=True))


def equal_labels() -> Records:
    return list(step_pair(chosen_label=0.5, rejected_label=0.5))


def one_less() -> Records:
    return [*clean_pairs()[1:], *clean_trajectories()]


def turned() -> Records:
    """A pair of the clean ones, and the same the other way round."""
    pairs = clean_pairs()
    first = next(p for p in pairs if p.type is Dimension.HELPFULNESS)
    other = replace(
        first,
        chosen=first.rejected,
        rejected=first.chosen,
        chosen_trajectory="",
        rejected_trajectory="",
    )
    return [*pairs, other]


def opposite() -> Records:
    """Two pairs of a task that say opposite things of two actions, but for their digits."""
    pairs = clean_pairs()
    first = next(p for p in pairs if p.type is Dimension.HELPFULNESS)
    one = replace(first, chosen=("click [3]link",), rejected=("type [4]",))
    other = replace(first, chosen=("type [7]",), rejected=("click [9]link",), step=9)
    return [*pairs[:40], one, other]


def one_element() -> Records:
    return list(step_pair(chosen=("click [3]link 'A'",), rejected=("click [4]link 'A'",)))


def conflict() -> Records:
    """The first step, which the trajectories of a task share, has two labels."""
    first, *rest = clean_trajectories()
    other = replace(first.steps[0].labels, helpfulness=0.9999)
    return [with_step(first, 0, labels=other), *rest]


def future() -> Records:
    return [
        replace(
            record,
            steps=tuple(
                replace(step, labels=replace(step.labels, helpfulness=1 / 3))
                for step in record.steps
            ),
        )
        for record in clean_trajectories()
    ]


def longer_wins() -> Records:
    pairs = clean_pairs()
    return [replace(pair, chosen=(*pair.chosen[:-1], pair.chosen[-1] + " now")) for pair in pairs]


def longer_wins_on_eval() -> Records:
    return [
        replace(pair, chosen=(*pair.chosen[:-1], pair.chosen[-1] + " now"))
        if pair.split == "eval"
        else pair
        for pair in clean_pairs()
    ]


def renamed() -> Records:
    first, *rest = clean_trajectories()
    return [first, *rest, replace(first, trajectory="another")]


def taken_name() -> Records:
    first, second, *rest = clean_trajectories()
    return [first, replace(second, trajectory=first.trajectory), *rest]


def without_action() -> Records:
    first, *rest = clean_pairs()
    return [replace(first, chosen=()), *rest]


def of_one_action() -> Records:
    first, *rest = clean_pairs()
    return [replace(first, chosen=first.rejected), *rest]


def thinned() -> Records:
    """Pairs of candidates of one state, as `pairs --balance` leaves them."""
    return [
        replace(pair, chosen_trajectory="t", rejected_trajectory="t")
        for i, pair in enumerate(clean_pairs())
        if pair.type is not Dimension.TOTAL or i % 2
    ]


PLANTED: list[tuple[str, str, str, Planted]] = [
    ("pair-sides", "fault", "without one action", without_action),
    ("pair-sides", "fault", "two sides are the same", of_one_action),
    ("swapped-columns", "fault", "contradict the messages", columns),
    ("label-order", "fault", "below", swapped_labels),
    ("label-order", "warning", "equal", equal_labels),
    ("lost-pairs", "fault", "earlier trajectory", lambda: list(clean_pairs(as_published=True))),
    ("lost-pairs", "fault", "not in the files", one_less),
    ("lost-pairs", "note", "couples of one state", thinned),
    ("leaks", "fault", "tasks", moved_task),
    ("leaks", "fault", "instructions", borrowed_instruction),
    ("duplicates", "warning", "equal to an earlier", lambda: [*clean_pairs(), clean_pairs()[0]]),
    ("duplicates", "warning", "both ways round", turned),
    ("duplicates", "warning", "under a name of their own", renamed),
    ("duplicates", "fault", "a name that is taken", taken_name),
    ("label-range", "fault", "out of range", lambda: relabelled(odds_of_success=1.5)),
    ("label-range", "fault", "out of range", lambda: relabelled(task_relevance=0.5)),
    ("label-range", "fault", "out of range", lambda: relabelled(coherence=2.0)),
    ("label-range", "fault", "out of range", lambda: relabelled(efficiency=math.inf)),
    ("label-range", "warning", "beyond the usual", lambda: relabelled(helpfulness=-1.5)),
    ("missing-labels", "warning", "coherence", lambda: relabelled(coherence=None)),
    ("missing-labels", "warning", "odds of success", lambda: relabelled(odds_of_success=math.nan)),
    ("step-numbers", "warning", "begin with step 1", lambda: numbered(2, 3)),
    ("step-numbers", "warning", "in the middle", lambda: numbered(1, 2, 4)),
    ("step-numbers", "fault", "twice", lambda: numbered(1, 2, 2)),
    ("step-numbers", "warning", "order of text", lambda: numbered(1, 10, 2, 3, 4, 5, 6, 7, 8, 9)),
    ("step-numbers", "warning", "out of order", lambda: numbered(2, 1, 3)),
    ("encodings", "fault", "lost", lambda: changed(1, action="click caf\ufffd")),
    ("encodings", "fault", "wrong encoding", lambda: changed(1, action="click cafÃ©")),
    ("encodings", "warning", "control", lambda: changed(1, action="click \x07")),
    ("encodings", "note", "private use", lambda: changed(1, action="click '\ue608 CATALOG'")),
    ("encodings", "note", "private use", lambda: changed(1, action="click '\\ue608 CATALOG'")),
    ("near-identical", "warning", "digits", opposite),
    ("near-identical", "note", "number of an element", one_element),
    ("conflicting-labels", "warning", "H 25%", conflict),
    ("future-labels", "note", "1/H gives away", future),
    ("shortcuts", "warning", "beat chance", longer_wins),
    ("shortcuts", "warning", "change their accuracy", longer_wins_on_eval),
]  # fmt: skip


@pytest.mark.parametrize(
    ("check", "severity", "words", "planted"),
    PLANTED,
    ids=[f"{check}-{words}" for check, _, words, _ in PLANTED],
)
def test_planted_fault_is_found(check: str, severity: str, words: str, planted: Planted) -> None:
    report = audit_records(planted(), only=[check])

    found = [f for f in of_check(report, check) if words in f.words and f.severity == severity]
    assert found
    assert found[0].count >= 1
    assert found[0].examples
    assert report.is_clean == (severity == "note")


def clean_sets() -> dict[str, Sequence[Record]]:
    return {
        "trajectories": clean_trajectories(),
        "pairs": clean_pairs(),
        "both": [*clean_trajectories(), *clean_pairs()],
        "steps": clean_steps(),
        "nothing": [],
    }


@pytest.mark.parametrize("name", clean_sets())
def test_clean_data_is_silent(name: str) -> None:
    report = audit_records(clean_sets()[name])

    assert report.findings == ()
    assert report.checks == tuple(CHECKS)
    assert report.is_clean


def test_a_pair_without_an_action_reaches_no_other_check() -> None:
    report = audit_records(without_action())

    assert {finding.check for finding in report.findings} <= {"pair-sides", "lost-pairs"}
    assert report.n_pairs == len(clean_pairs())


def test_every_check_has_a_planted_fault() -> None:
    assert {check for check, *_ in PLANTED} | {"bad-rows"} == set(CHECKS)


def test_examples_name_the_line_and_stop_at_the_limit() -> None:
    records = [replace(p, chosen_label=0.0, rejected_label=1.0) for p in clean_pairs()]

    (finding,) = audit_records(records, only=["label-order"], max_examples=2).findings

    assert finding.count == len(records)
    assert [example.place for example in finding.examples] == ["rows.jsonl:1", "rows.jsonl:2"]


def test_lost_pairs_without_names_are_found_by_their_totals() -> None:
    def nameless(*, as_published: bool) -> Records:
        return [
            replace(pair, chosen_trajectory="", rejected_trajectory="")
            for pair in clean_pairs(as_published=as_published)
        ]

    lost = audit_records(nameless(as_published=True), only=["lost-pairs"])
    whole = audit_records(nameless(as_published=False), only=["lost-pairs"])

    assert [finding.severity for finding in lost.findings] == ["fault"]
    assert "no pair of the total" in lost.findings[0].words
    assert whole.findings == ()


def test_lost_pairs_beside_their_trajectories_are_counted_exactly() -> None:
    published = clean_pairs(as_published=True)

    report = audit_records([*published, *clean_trajectories()], only=["lost-pairs"])

    (made,) = (f for f in report.findings if "that the trajectories make" in f.words)
    assert made.count == len(clean_pairs()) - len(published)


def test_leaks_are_found_by_trajectory_and_step() -> None:
    pairs = clean_pairs()
    moved = replace(next(p for p in pairs if p.split == "train"), split="eval")

    report = audit_records([*pairs, moved], only=["leaks"])

    kinds = {finding.words.split(" ")[0] for finding in report.findings}
    assert kinds == {"tasks", "trajectories", "instructions", "steps"}


def test_texts_that_two_seeds_share_are_a_warning() -> None:
    records = [
        replace(record, instruction="do it", seed=number, trajectory=f"t{number}")
        for number, record in enumerate(clean_trajectories())
    ]

    report = audit_records(records, only=["leaks"])

    assert {finding.severity for finding in report.findings} == {"warning"}


def test_scaled_labels_have_their_own_range() -> None:
    first, *rest = clean_trajectories()
    scaled = Labels(
        helpfulness=-3.0, odds_of_success=3.0, efficiency=5.0, task_relevance=1.0, coherence=0.0
    )

    def audited(labels: Labels) -> int:
        record = replace(with_step(first, 1, labels=labels), is_scaled=True)
        return len(audit_records([record, *rest], only=["label-range"]).findings)

    assert audited(scaled) == 0
    assert audited(replace(scaled, odds_of_success=6.0)) == 1
    assert audited(replace(scaled, efficiency=-6.0)) == 1


def test_a_dimension_that_nobody_labelled_is_a_note() -> None:
    records = [
        replace(
            record,
            steps=tuple(
                replace(step, labels=replace(step.labels, coherence=None)) for step in record.steps
            ),
        )
        for record in clean_trajectories()
    ]

    (finding,) = audit_records(records, only=["missing-labels"]).findings

    assert finding.severity == "note"


def test_candidates_of_one_state_may_share_a_number() -> None:
    steps = [replace(step, state=f"s{step.step}") for step in clean_steps()]
    first = steps[1]
    again = replace(first, action="click another", labels=steps[2].labels)

    assert audit_records([*steps, again], only=["step-numbers"]).findings == ()
    plain = [replace(step, state="") for step in (*steps, again)]
    assert len(audit_records(plain, only=["step-numbers"]).findings) >= 1


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_label_order_counts_each_turned_pair(turns: list[bool]) -> None:
    pairs = clean_pairs()[: len(turns)]
    records = [
        replace(pair, chosen_label=pair.rejected_label, rejected_label=pair.chosen_label)
        if is_turned
        else pair
        for pair, is_turned in zip(pairs, turns, strict=False)
    ]

    report = audit_records(records, only=["label-order"])

    assert sum(finding.count for finding in report.findings) == sum(turns[: len(pairs)])


@given(st.text(st.characters(min_codepoint=0xA0, max_codepoint=0x2FFF), min_size=1, max_size=8))
def test_misread_finds_utf8_read_as_latin_1(text: str) -> None:
    mojibake = text.encode().decode("latin-1")

    assert misread(f"click {mojibake} now") == text


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "gbk"])
def test_misread_finds_each_wrong_encoding(encoding: str) -> None:
    text = "打开设置" if encoding == "gbk" else "“été”"
    if encoding == "cp1252":
        text = "l\u2019été"

    assert misread(text.encode().decode(encoding)) is not None


def test_misread_finds_chinese_read_as_latin_1() -> None:
    assert misread("打开设置".encode("gb2312").decode("latin-1")) == "打开设置"


@pytest.mark.parametrize(
    "text",
    [
        "plain words",
        "déjà vu, naïve café, Ångström, Ünïcödé",
        "Größe: 5 €, 20 °C, ±3 µm, ½ ©®",
        "打开设置\uff0c然后点击“确定”",
        "日本語のテキスト、カタカナ",
        "Привет, мир! Ελληνικά",
        "“quoted” — with dashes … and • bullets",
    ],
)
def test_misread_leaves_good_text_alone(text: str) -> None:
    assert misread(text) is None


@given(st.text())
def test_normalised_and_masked_are_idempotent(text: str) -> None:
    assert normalised(normalised(text)) == normalised(text)
    assert masked(masked(text)) == masked(text)
