"""The bound on what an audit makes into pairs."""

from itertools import combinations
from pathlib import Path

from audited import audit_records, clean_pairs, clean_trajectories, of_check
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from similar_fast.records import Record
from similar_fast.srm.audit.findings import Place
from similar_fast.srm.audit.rows import AuditData
from similar_fast.srm.audit.sample import MAX_COUPLES, draw_groups
from similar_fast.srm.pairs import pairs_of_trajectories

PLACE = Place(Path("rows.jsonl"))
keys = st.lists(st.integers(0, 6), max_size=40)


def num_couples(groups: list[int]) -> int:
    return sum(first == second for first, second in combinations(groups, 2))


@given(keys, st.integers(0, 60), st.integers(2, 5))
def test_a_draw_counts_its_couples_and_keeps_the_bound(
    groups: list[int], max_couples: int, max_group: int
) -> None:
    items = list(enumerate(groups))

    found = draw_groups(items, groups, seed="x", max_couples=max_couples, max_group=max_group)

    assert found.items == sorted(found.items)
    assert set(found.items) <= set(items)
    assert found.n_couples == num_couples([group for _, group in found.items]) <= max_couples
    assert found.of_couples == num_couples(groups)
    assert found.is_whole == (num_couples(groups) <= max_couples)
    if found.is_whole:
        assert found.items == items
    for group in {group for _, group in found.items}:
        size = sum(other == group for _, other in found.items)
        assert found.is_whole or size == min(groups.count(group), max_group)


@given(keys, st.integers(0, 9))
def test_a_draw_depends_on_its_seed_alone(groups: list[int], max_couples: int) -> None:
    first, second = (
        draw_groups(groups, groups, seed="x", max_couples=max_couples, max_group=3)
        for _ in range(2)
    )

    assert first == second


def test_each_seed_draws_other_groups() -> None:
    groups = [i // 4 for i in range(400)]

    drawn = {
        tuple(draw_groups(groups, groups, seed=seed, max_couples=60, max_group=4).items)
        for seed in "abc"
    }

    assert len(drawn) == 3


def many(num_per_task: int) -> list[Record]:
    """Clean trajectories, each there many times under other names and with other last actions."""
    return [
        replace(
            record,
            trajectory=f"{record.trajectory}_{k}",
            steps=(
                *record.steps[:2],
                replace(record.steps[2], action=f"{record.steps[2].action} {k}"),
            ),
        )
        for record in clean_trajectories()
        for k in range(num_per_task)
    ]


def test_an_audit_of_many_couples_looks_at_some_and_says_at_how_many() -> None:
    records = [record for record in many(14) if record.split == "train"]
    num_tasks, per_task = len({record.task for record in records}), 4 * 14
    whole = num_tasks * per_task * (per_task - 1) // 2

    report = audit_records(records, only=["near-identical", "shortcuts"])

    for check in ("near-identical", "shortcuts"):
        notes = [f for f in of_check(report, check) if "were looked at" in f.words]
        assert [note.severity for note in notes] == ["note"]
        assert notes[0].count == num_tasks * 32 * 31 // 2 <= MAX_COUPLES < whole
        assert f"webarena train were looked at: {notes[0].count:,} of {whole:,}" in notes[0].words


def test_few_couples_are_all_made_into_pairs() -> None:
    records = clean_trajectories()

    report = audit_records(records)
    data = AuditData((), tuple((PLACE, record) for record in records))

    assert not any("were looked at" in finding.words for finding in report.findings)
    assert {s.n_couples for s, _ in data.sampled.values()} == {8 * 6, 4 * 6}


def test_trajectories_beside_their_pairs_are_not_made_into_pairs_to_compare() -> None:
    pairs = clean_pairs()
    data = AuditData((), tuple((PLACE, record) for record in [*pairs, *clean_trajectories()]))

    assert [row.record for row in data.compared] == pairs
    assert data.sampled == {}
    made = list(pairs_of_trajectories(clean_trajectories()))
    assert sorted(map(repr, pairs)) == sorted(map(repr, made))
