"""Pairs that rules of verbs and lengths cannot tell apart."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from similar_fast.dimensions import Dimension
from similar_fast.records import PairRecord
from similar_fast.srm.balance import balanced

WORDS = st.sampled_from(["click a", "click abc", "type a", "type abcde", "select x", ""])
TYPES = st.sampled_from([Dimension.ODDS_OF_SUCCESS, Dimension.TOTAL])


def pair(chosen: str, rejected: str, type_: Dimension = Dimension.TOTAL) -> PairRecord:
    return PairRecord(
        environment="e",
        task="t",
        type=type_,
        instruction="i",
        chosen=(chosen,),
        rejected=(rejected,),
        step=1,
    )


PAIRS = st.lists(st.builds(pair, WORDS, WORDS, TYPES), max_size=60)


def verb(actions: tuple[str, ...]) -> str:
    return actions[0].split(" ")[0]


@given(PAIRS, st.integers(0, 3))
def test_prop_longer_and_shorter_win_alike(pairs: list[PairRecord], seed: int) -> None:
    kept = balanced(pairs, seed=seed)

    for type_ in (Dimension.ODDS_OF_SUCCESS, Dimension.TOTAL):
        signs = Counter(
            (len(p.chosen[0]) > len(p.rejected[0])) - (len(p.chosen[0]) < len(p.rejected[0]))
            for p in kept
            if p.type == type_
        )
        assert signs[1] == signs[-1]


@given(PAIRS, st.integers(0, 3))
def test_prop_verbs_win_as_often_as_they_lose(pairs: list[PairRecord], seed: int) -> None:
    kept = balanced(pairs, seed=seed)

    for type_ in (Dimension.ODDS_OF_SUCCESS, Dimension.TOTAL):
        won = Counter((verb(p.chosen), verb(p.rejected)) for p in kept if p.type == type_)
        assert all(won[one, two] == won[two, one] for one, two in won)


@given(PAIRS)
def test_prop_order_stays_and_a_second_time_changes_nothing(pairs: list[PairRecord]) -> None:
    kept = balanced(pairs)

    places = iter(pairs)
    assert all(any(p is q for q in places) for p in kept)
    assert balanced(kept) == kept


def test_balance_by_hand() -> None:
    longer, shorter = pair("click abc", "click a"), pair("click a", "click abc")
    alone, alike = pair("type a", "click a"), pair("click a", "click b")

    assert balanced([longer, longer, shorter, alone, alike]).count(shorter) == 1
    assert balanced([longer, shorter, alone, alike]) == [longer, shorter, alike]
