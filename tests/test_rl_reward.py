"""`RewardFunction`, called as TRL calls it."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import draw, encode
from similar_fast import BatchingScorer, RewardModel, Step
from similar_fast.baselines import LexicalScorer
from similar_fast.dimensions import Dimension
from similar_fast.errors import ScorerError
from similar_fast.rl.completions import MAX_ACTION_CHARS, action_of, chosen_of, completion_text
from similar_fast.rl.reward_function import RewardFunction
from srm_pairs import NumberScorer

WHOLE = st.text(st.characters(exclude_categories=["Cs"]))


def turn(text: object) -> list[dict[str, object]]:
    return [{"role": "assistant", "content": text}]


def rewards(reward: RewardFunction, completions: list, **columns: object) -> list[float | None]:
    n = len(completions)
    columns = {"instruction": ["Buy a ticket"] * n, **columns}
    return reward(prompts=["?"] * n, completions=completions, completion_ids=[[1]] * n, **columns)


@given(st.lists(st.integers(0, 99), max_size=8))
def test_rewards_are_the_scores_of_one_call_in_their_order(numbers: list[int]) -> None:
    scorer = NumberScorer()
    completions = [f"{number} act" for number in numbers]

    assert rewards(RewardFunction(scorer), completions) == numbers
    assert rewards(RewardFunction(scorer), [turn(text) for text in completions]) == numbers
    assert len(scorer.calls) == (2 if numbers else 0)


def test_the_step_is_read_from_the_columns(tmp_path: Path) -> None:
    picture = tmp_path / "screen.png"
    picture.write_bytes(b"bytes")
    scorer = NumberScorer()

    rewards(
        RewardFunction(scorer),
        ["1 act", "2 act", "3 act", "4 act"],
        instruction=["A", "B", "C", "D"],
        history=[["x", "y"], None, [], ["z"]],
        observation=["screen", None, "", "screen"],
        screenshot=[str(picture), None, b"raw", str(picture)],
        task=["1", "2", "3", "4"],
        trainer_state=object(),
    )

    ((first, second, third, fourth),) = scorer.calls
    assert first == Step("A", ("x", "y"), "1 act", "screen")
    assert second == Step("B", (), "2 act")
    assert (first.screenshot(), second.screenshot, third.screenshot()) == (b"bytes", None, b"raw")
    assert fourth.screenshot is first.screenshot


@pytest.mark.parametrize(
    "completion",
    [
        "",
        " \n",
        "1 a\n2 b",
        "x" * (MAX_ACTION_CHARS + 1),
        [],
        turn(None),
        turn([]),
        None,
        7,
        [{"role": "user", "content": "1 act"}],
        ["1 act"],
    ],
)
@pytest.mark.parametrize("floor", [None, -1.0])
def test_a_malformed_completion_has_the_floor_and_its_neighbours_their_scores(
    completion: object, floor: float | None
) -> None:
    found = rewards(RewardFunction(NumberScorer(), floor=floor), ["5 a", completion, "6 b"])

    assert found == [5.0, floor, 6.0]


def test_a_step_that_fails_has_no_reward_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    told: dict[str, float] = {}
    reward = RewardFunction(NumberScorer(), floor=-1.0)

    with caplog.at_level(logging.WARNING):
        found = rewards(reward, ["5 a", "none b", "6 c", ""], log_metric=told.__setitem__)

    assert found == [5.0, None, 6.0, -1.0]
    assert told == {"similar_total/malformed": 0.25, "similar_total/failed": 0.25}
    assert "1 of 4 completions have no reward" in caplog.text


def test_a_row_that_makes_no_step_has_no_reward() -> None:
    found = rewards(
        RewardFunction(NumberScorer()),
        ["5 a", "6 b", "7 c"],
        instruction=[None, "B", "C"],
        history=[[], [], "click A"],
    )

    assert found == [None, 6.0, None]


def test_columns_that_cannot_be_right_are_refused() -> None:
    reward = RewardFunction(NumberScorer())

    with pytest.raises(ValueError, match="the columns are task; expected instruction"):
        reward(["?"], ["1 a"], task=["1"])
    with pytest.raises(ValueError, match="history has 2 rows; expected 1"):
        reward(["?"], ["1 a"], instruction=["A"], history=[[], []])


def test_candidates_are_chosen_by_their_words_or_their_numbers() -> None:
    listed = [["7 yes", "3 no"]] * 5

    found = rewards(
        RewardFunction(NumberScorer()),
        ["3 no", "1", "2.", "3", "7 yes, please"],
        candidates=listed,
    )

    assert found == [3.0, 7.0, 3.0, None, None]


@given(WHOLE)
def test_an_action_is_one_line_without_outer_blanks(text: str) -> None:
    action = action_of(text)

    if action is not None:
        assert action == action.strip() != ""
        assert len(action.splitlines()) == 1
        assert action_of(f"<think>\n1\n</think>\n{action}") == action_of(action)


@given(WHOLE)
def test_both_forms_of_a_completion_have_one_text(text: str) -> None:
    parts = [{"type": "text", "text": text[:2]}, {"type": "text", "text": text[2:]}]

    assert completion_text(text) == completion_text(turn(text)) == completion_text(turn(parts))


@given(st.lists(WHOLE.map(str.strip).filter(len), min_size=1, unique=True), st.data())
def test_every_candidate_is_chosen_by_its_own_words(listed: list[str], data: st.DataObject) -> None:
    action = data.draw(st.sampled_from(listed))

    assert chosen_of(action, listed) == action


@given(st.floats(-100, 100), st.floats(-10, 10), st.floats(0.5, 10))
def test_a_scaled_reward_is_in_the_unit_range_and_keeps_the_order(
    number: float, low: float, width: float
) -> None:
    reward = RewardFunction(NumberScorer(), scale=(low, low + width))

    one, two = rewards(reward, [f"{number} a", f"{number + 1} a"])

    assert 0 <= one <= two <= 1
    assert one == pytest.approx(min(max((number - low) / width, 0), 1), abs=1e-4)


@pytest.mark.parametrize(
    ("dimension", "name", "value"),
    [
        (None, "similar_total", 2.0),
        (Dimension.HELPFULNESS, "similar_helpfulness", 2.0),
        ("OS", "similar_odds_of_success", 4.0),
        ("task relevance", "similar_task_relevance", 8.0),
    ],
)
def test_a_dimension_is_rewarded_by_name(
    dimension: Dimension | str | None, name: str, value: float
) -> None:
    reward = RewardFunction(NumberScorer(has_dims=True), dimension=dimension)

    assert reward.__name__ == name
    assert rewards(reward, ["2 act"]) == [value]


def test_a_dimension_that_the_scorer_lacks_is_an_error() -> None:
    with pytest.raises(ScorerError, match="LexicalScorer gives no dimensions"):
        rewards(RewardFunction(LexicalScorer(), dimension="OS"), ["click A"])


@pytest.mark.parametrize(
    "options",
    [
        {"dimension": "trajectory"},
        {"dimension": "H,OS"},
        {"dimension": "x"},
        {"scale": (1.0, 1.0)},
        {"scale": (float("nan"), 1.0)},
        {"scale": (0.0, float("inf"))},
    ],
)
def test_what_cannot_be_rewarded_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected"):
        RewardFunction(NumberScorer(), **options)


def test_rewards_through_a_batching_scorer_are_the_same() -> None:
    actions = ['click button "Ticket"', 'click link "Help"', 'click button "Buy"']

    with BatchingScorer(LexicalScorer()) as scorer:
        found = rewards(RewardFunction(scorer), actions)

    assert found == rewards(RewardFunction(LexicalScorer()), actions)


def test_rewards_equal_the_models_own_scores_and_a_broken_picture_fails_alone(
    exported: Callable[[str], tuple[Path, Path]], tmp_path: Path
) -> None:
    picture = tmp_path / "screen.png"
    picture.write_bytes(encode(draw(90, 60)))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    model = RewardModel(exported("qwen2_vl")[1])
    actions = ["click Buy", "click Help", "click Buy"]
    shots = [str(picture), None, str(tmp_path / "broken.png")]

    found = rewards(
        RewardFunction(model, dimension="E"), actions, observation=["Screen"] * 3, screenshot=shots
    )

    steps = [
        Step("Buy a ticket", (), "click Buy", "Screen", picture.read_bytes),
        Step("Buy a ticket", (), "click Help", "Screen"),
    ]
    np.testing.assert_allclose(found[:2], model.score(steps).dims[:, 2], atol=1e-5)
    assert found[2] is None
