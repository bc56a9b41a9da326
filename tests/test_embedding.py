"""`EmbeddingScorer` on the committed model: what it prefers, and what must not change a score."""

import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from similar_fast.embedding import EmbeddingScorer
from similar_fast.errors import InferenceError, ModelError
from similar_fast.models import shipped
from similar_fast.protocols import Scorer
from similar_fast.types import Step

WORDS = (
    *("click", "type", "select", "button", "login", "order", "Größe", "日本"),
    *("the", "42", "textbox", "file", "checkbox", "search"),
)


@pytest.fixture(scope="module")
def scorer() -> EmbeddingScorer:
    return EmbeddingScorer(threads=1)


def random_steps(seed: int, count: int) -> list[Step]:
    rng = np.random.default_rng(seed)

    def text(most: int) -> str:
        return " ".join(rng.choice(WORDS, rng.integers(0, most, endpoint=True)))

    return [
        Step(text(40), tuple(text(8) for _ in range(rng.integers(0, 4))), text(60))
        for _ in range(count)
    ]


def test_it_is_a_scorer_and_returns_one_total_a_step(scorer: EmbeddingScorer) -> None:
    scores = scorer.score([Step("Log in", (), "click Login"), Step("Log in", (), "click Help")])

    assert isinstance(scorer, Scorer)
    assert (scores.total.dtype, scores.total.shape) == (np.float32, (2,))
    assert scores.dims is None
    assert scores.weights is None


def test_no_steps_give_no_scores(scorer: EmbeddingScorer) -> None:
    assert scorer.score([]).total.shape == (0,)


@pytest.mark.parametrize(
    ("instruction", "fitting", "unrelated"),
    [
        ("Close the dialog box.", 'click button "Close"', 'click link "Customers"'),
        ("Sort the table by salary.", 'click columnheader "Salary"', 'click columnheader "Name"'),
        ("Delete the email by Margit.", 'click "trash" in row "Margit"', 'click "star" in "Pavel"'),
        ("Turn on the dark theme.", 'click radio "Dark"', 'click menuitem "Displays"'),
        ("Choose Thursday from the list.", 'select "Thursday"', 'select "Sunday"'),
        ("Set an alarm for 6:45.", 'click button "Add alarm"', 'click tab "Stopwatch"'),
    ],
)
def test_action_that_the_instruction_asks_for_scores_above_an_unrelated_one(
    scorer: EmbeddingScorer, instruction: str, fitting: str, unrelated: str
) -> None:
    total = scorer.score([Step(instruction, (), action) for action in (fitting, unrelated)]).total

    assert total[0] > total[1] + 0.02


def test_plain_cosines_are_those_of_the_published_float32_model() -> None:
    scorer = EmbeddingScorer(history_weight=0.0)
    steps = [
        Step("Close the dialog box.", (), 'click button "Close"'),
        Step("Close the dialog box.", (), 'click link "Customers"'),
        Step("Sort the table by salary, highest first.", (), 'click columnheader "Salary"'),
    ]

    total = scorer.score(steps).total

    # From transformers 5.24 with torch 2.15, float32, mean pooling over the attention mask.
    np.testing.assert_allclose(total, [0.58096, 0.27185, 0.50381], atol=0.01)


def test_total_is_the_formula_of_the_docstring() -> None:
    plain, weighted = EmbeddingScorer(history_weight=0.0), EmbeddingScorer(history_weight=0.25)
    done = ("type x into Name", "click Next")
    cosine = plain.score([Step("Send the form", (), "click Send")]).total[0]
    repeats = plain.score([Step(action, (), "click Send") for action in done]).total

    total = weighted.score([Step("Send the form", done, "click Send")]).total[0]

    assert total == pytest.approx((cosine - 0.25 * max(repeats) ** 8) / 1.25, abs=1e-6)


def test_done_action_loses_to_the_next_one(scorer: EmbeddingScorer) -> None:
    instruction = 'Type "elda" as username and "9k2" as password.'
    actions = ['type "elda" into textbox "Username"', 'type "9k2" into textbox "Password"']

    first, second = scorer.score([Step(instruction, (actions[0],), a) for a in actions]).total

    assert second > first + 0.1


def test_query_history_puts_the_last_actions_into_the_query() -> None:
    scorer = EmbeddingScorer(history_weight=0.0, query_history=1)

    a, b, c = scorer.score(
        [
            Step("Log in", ("click Old", "click Menu"), "click Login"),
            Step("Log in", ("click Menu",), "click Login"),
            Step("Log in", (), "click Login"),
        ]
    ).total

    assert a == b
    assert abs(a - c) > 0.01


def test_score_is_the_same_alone_and_in_any_batch() -> None:
    rng = np.random.default_rng(0)
    steps = random_steps(0, 24)
    scorers = [EmbeddingScorer(threads=1, cache_size=0, max_batch_size=size) for size in (1, 3, 32)]
    alone = np.concatenate([scorers[2].score([step]).total for step in steps])

    for _ in range(12):
        chosen = rng.permutation(len(steps))[: rng.integers(1, 12)]
        total = scorers[rng.integers(3)].score([steps[i] for i in chosen]).total
        np.testing.assert_allclose(total, alone[chosen], atol=1e-5)


def test_two_runs_give_the_same_bits() -> None:
    steps = random_steps(1, 30)

    first, second = (EmbeddingScorer(threads=1).score(steps).total for _ in range(2))

    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    "text", ["", " ", "\0\n\t", "日本語のボタン", "🙂" * 50, "e\u0301" * 200, "\ud800x", "a" * 5000]
)
def test_any_text_gets_a_finite_score_in_range(scorer: EmbeddingScorer, text: str) -> None:
    total = scorer.score([Step(text, (text,), text), Step("Log in", (), text)]).total

    assert np.isfinite(total).all()
    assert (np.abs(total) <= 1.0).all()
    assert total[0] == pytest.approx((1 - 0.5) / 1.5, abs=1e-5)


def test_screen_and_picture_take_no_part(scorer: EmbeddingScorer) -> None:
    def fail() -> bytes:
        raise AssertionError

    bare = scorer.score([Step("Log in", (), "click Login")]).total
    full = scorer.score([Step("Log in", (), "click Login", "a screen", fail)]).total

    np.testing.assert_array_equal(bare, full)


@pytest.mark.timeout(120)
def test_long_text_is_cut_and_counted_once() -> None:
    scorer = EmbeddingScorer(threads=1)
    text = "word " * 20_000

    total = scorer.score([Step("Log in", (), text)]).total

    assert np.isfinite(total).all()
    assert scorer.num_cut == 20_000 - 254
    scorer.score([Step("Log in", (), text)])
    assert scorer.num_cut == 20_000 - 254, "a cached text is counted once"


def test_many_threads_get_the_scores_of_one(scorer: EmbeddingScorer) -> None:
    steps = random_steps(2, 24)
    expected = scorer.score(steps).total
    shared = EmbeddingScorer(threads=1, cache_size=8)
    results: list[np.ndarray] = []

    def work() -> None:
        results.extend(shared.score(steps[i : i + 6]).total for i in range(0, 24, 6))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(results) == 24
    for i, total in enumerate(results):
        wanted = [expected[j : j + 6] for j in range(0, 24, 6)]
        assert any(np.allclose(total, part, atol=1e-5) for part in wanted), i


def test_not_finite_embedding_is_an_inference_error(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = EmbeddingScorer()
    broken = SimpleNamespace(
        path=Path("model.onnx"),
        run=lambda feeds: {"embedding": np.full((len(feeds["input_ids"]), 384), np.nan)},
    )
    monkeypatch.setattr(scorer._encoder, "_session", broken)

    with pytest.raises(InferenceError, match="returned 2 of 2 embeddings that are not finite"):
        scorer.score([Step("Log in", (), "click Login")])


def test_missing_package_is_a_model_error_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> Path:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(shipped.importlib.resources, "files", missing)

    with pytest.raises(ModelError, match="pip install similar-fast-mini"):
        EmbeddingScorer()


def test_folder_without_a_model_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no similar\.json"):
        EmbeddingScorer(tmp_path)


def test_impossible_provider_is_an_inference_error() -> None:
    with pytest.raises(InferenceError, match="NoSuchProvider is not in this build"):
        EmbeddingScorer(providers="NoSuchProvider")


@pytest.mark.parametrize(
    "options",
    [
        {"history_weight": -0.1},
        {"history_weight": float("nan")},
        {"history_weight": float("inf")},
        {"query_history": -1},
        {"max_batch_size": 0},
        {"max_batch_tokens": 0},
        {"cache_size": -1},
        {"threads": 0},
    ],
)
def test_argument_out_of_range_is_a_value_error(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        EmbeddingScorer(**options)  # type: ignore[arg-type]
