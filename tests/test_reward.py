"""RewardModel: equal to transformers for every family, alone and in company; caches; bad input."""

import io
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import checkpoints
import numpy as np
import PIL.Image
import pytest
import torch
from similar_fast import BatchingScorer, Step
from similar_fast.errors import DataError, InferenceError, ModelError
from similar_fast.models.heads import read_heads
from similar_fast.models.manifest import MANIFEST_NAME
from similar_fast.reward.model import RewardModel
from similar_fast.types import Scores
from similar_fast_export.reference import Reference
from similar_fast_export.reward_model import ExportOptions, export_reward_model
from similar_fast_export.verify import random_states

FAMILIES = ("bert", "qwen2", "qwen2_vl", "qwen2_5_vl", "mllama")
Export = Callable[[str], tuple[Path, Path]]
VISUAL = FAMILIES[2:]
TOLERANCE = 1e-4
ALONE = 1e-5


def open_model(exported: Export, family: str, **options: object) -> RewardModel:
    options = {"providers": "cpu", "threads": 1, **options}
    return RewardModel.from_pretrained(exported(family)[1], **options)


def png(size: tuple[int, int], seed: int = 0) -> bytes:
    rng = np.random.default_rng(seed)
    stream = io.BytesIO()
    PIL.Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def states_for(family: str, seed: int = 0) -> list[list[Step]]:
    return random_states(seed, has_vision=family in VISUAL)


def reference_scores(heads: Path, hidden: np.ndarray, prompt_hidden: np.ndarray) -> Scores:
    """The formula of the paper in plain numpy, float64."""
    weights = read_heads(heads)
    value = prompt_hidden.astype(np.float64)
    for i, (matrix, bias) in enumerate(weights.layers):
        value = (np.maximum(value, 0) if i else value) @ matrix.T + bias
    value = np.exp(value / weights.temperature)
    gate = value / value.sum(1, keepdims=True) * weights.logit_scale
    dims = hidden.astype(np.float64) @ weights.regression.T
    return Scores((gate * dims).sum(1), dims, gate)


def difference(ours: Scores, other: Scores) -> float:
    return max(
        float(np.abs(getattr(ours, name) - getattr(other, name)).max())
        for name in ("total", "dims", "weights")
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_equal_transformers(exported: Export, family: str) -> None:
    checkpoint, folder = exported(family)
    model = open_model(exported, family)
    reference = Reference(checkpoint, model.manifest)

    for steps in states_for(family, seed=3):
        scores = model.score(steps)

        hidden, prompt_hidden = reference.features(steps)
        expected = reference_scores(folder / "heads.safetensors", hidden, prompt_hidden)
        assert np.abs(hidden).max() > 1
        assert np.ptp(expected.total) > 0.01
        assert difference(scores, expected) < TOLERANCE
        found, found_prompt = model.features(steps)
        assert np.abs(found - hidden).max() < TOLERANCE
        assert np.abs(found_prompt - prompt_hidden).max() < TOLERANCE


@pytest.mark.parametrize("family", FAMILIES)
def test_score_is_the_same_alone_in_any_batch_and_order(exported: Export, family: str) -> None:
    steps = [step for state in states_for(family) for step in state]
    order = np.random.default_rng(1).permutation(len(steps))

    together = open_model(exported, family).score(steps)
    shuffled = open_model(exported, family).score([steps[i] for i in order])
    model = open_model(exported, family, state_cache_bytes=0, picture_cache_bytes=0)
    alone = [model.score([step]) for step in steps]

    assert np.abs(shuffled.total - together.total[order]).max() < ALONE
    for i, one in enumerate(alone):
        assert abs(one.total[0] - together.total[i]) < ALONE


@pytest.mark.parametrize("family", FAMILIES)
def test_deterministic_scores_are_bit_identical(exported: Export, family: str) -> None:
    steps = [step for state in states_for(family)[:4] for step in state]
    model = open_model(exported, family, deterministic=True)

    together = model.score(steps)
    backwards = model.score(steps[::-1])
    alone = [
        open_model(exported, family, deterministic=True, state_cache_bytes=0).score([step])
        for step in steps[::5]
    ]

    assert np.array_equal(together.total, backwards.total[::-1])
    assert np.array_equal(together.dims, backwards.dims[::-1])
    assert [one.total[0] for one in alone] == together.total[::5].tolist()


@pytest.mark.parametrize("family", ["qwen2", "qwen2_vl", "mllama"])
def test_long_prefixes_in_pieces_change_nothing(
    exported: Export, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = states_for(family)[1]
    whole = open_model(exported, family).score(steps)
    monkeypatch.setattr("similar_fast.reward.states._MAX_CELLS", 1)
    monkeypatch.setattr("similar_fast.reward.states._MIN_CHUNK", 23)

    pieces = open_model(exported, family).score(steps)

    assert difference(pieces, whole) < ALONE


@pytest.mark.parametrize("family", ["bert", "qwen2", "qwen2_vl", "mllama"])
@pytest.mark.parametrize("max_batch_tokens", [1, 7, 40])
def test_candidates_in_several_runs_change_nothing(
    exported: Export, family: str, max_batch_tokens: int
) -> None:
    state = states_for(family)[1][0]
    actions = [*(f"click link {i} now" for i in range(9)), "type " + "many words " * 12]
    steps = [replace(state, action=action) for action in actions]
    whole = open_model(exported, family).score(steps)

    pieces = open_model(exported, family, max_batch_tokens=max_batch_tokens).score(steps)

    assert difference(pieces, whole) < ALONE


@pytest.mark.parametrize("family", FAMILIES)
def test_equal_actions_of_a_state_have_equal_bits(exported: Export, family: str) -> None:
    model = open_model(exported, family)
    for state in states_for(family):
        steps = [replace(state[0], action=f"click link {i % 3}") for i in range(11)]

        scores = model.score(steps)

        for i in range(3):
            assert len(set(scores.total[i::3].tolist())) == 1
            assert (scores.dims[i::3] == scores.dims[i]).all()
        ranked = model.rank(state[0], [step.action for step in steps])
        order = [entry.action for entry in ranked]
        assert order == sorted(order, key=order.index)


def test_masks_of_many_candidates_are_made_in_groups(
    exported: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = [replace(states_for("qwen2")[0][0], action=f"click link {i}") for i in range(40)]
    whole = open_model(exported, "qwen2").score(steps)
    monkeypatch.setattr("similar_fast.reward.states._MAX_MASK_BYTES", 1)

    groups = open_model(exported, "qwen2", max_batch_tokens=30).score(steps)

    assert difference(groups, whole) < ALONE


def test_failure_of_any_kind_is_its_own_state_s_alone(
    exported: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = open_model(exported, "qwen2_vl")
    good = replace(states_for("qwen2_vl")[1][0], screenshot=None)
    seeing = replace(good, screenshot=lambda: png((90, 60)))

    def fail(*_: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(model._vision, "run", fail)

    rows = model.score_rows([good, seeing, good])

    assert list(rows.errors) == [1]
    assert isinstance(rows.errors[1], InferenceError)
    assert "MemoryError: no room" in str(rows.errors[1])
    assert np.isfinite(rows.scores.total[[0, 2]]).all()


def test_picture_is_seen_once_for_a_state_whatever_is_kept(
    exported: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = open_model(exported, "mllama", picture_cache_bytes=0, max_batch_tokens=8)
    state = states_for("mllama")[1]
    runs = []
    run = model._vision.run
    monkeypatch.setattr(model._vision, "run", lambda image: runs.append(1) or run(image))

    model.score(state)

    assert len(runs) == 1


def test_threads_with_one_new_state_run_it_once(exported: Export) -> None:
    model = open_model(exported, "qwen2")
    step = Step("Buy a ticket", (), "click Buy", "a page with many words " * 40)
    open_model(exported, "qwen2").score([step])
    barrier = threading.Barrier(6)

    def work() -> None:
        barrier.wait()
        model.score([step])

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert model.stats.states.entries == 1
    assert model.stats.tokens_run < model.stats.tokens_asked / 3


@pytest.mark.parametrize(("family", "options"), [("bert", {}), ("qwen2", {"deterministic": True})])
def test_beginnings_that_cannot_be_shared_are_no_hits(
    exported: Export, family: str, options: dict[str, object]
) -> None:
    model = open_model(exported, family, **options)

    model.score([Step(f"Task number {i}", (), "click button OK") for i in range(5)])

    assert (model.stats.states.misses, model.stats.states.partial_hits) == (5, 0)


def test_known_states_run_their_candidates_alone(exported: Export) -> None:
    model = open_model(exported, "qwen2_vl")
    steps = states_for("qwen2_vl")[1]
    cold = model.score(steps)
    before = model.stats

    warm = model.score(steps)

    after = model.stats
    assert np.array_equal(warm.total, cold.total)
    assert (before.states.misses, before.states.entries) == (1, 1)
    assert (after.states.hits, after.states.misses) == (1, 1)
    assert after.pictures.misses == 1
    assert after.scored_steps == 2 * len(steps)
    assert before.tokens_run < before.tokens_asked
    assert 2 * (after.tokens_run - before.tokens_run) < before.tokens_run
    assert after.states.nbytes == before.states.nbytes > 0


def test_history_that_grows_continues_its_known_beginning(exported: Export) -> None:
    model = open_model(exported, "qwen2")
    base = Step("Book a flight", ("click link Flights",), "click button Search", "a page of text")
    longer = replace(base, history=(*base.history, "type Oslo into textbox From"))
    expected = open_model(exported, "qwen2").score([longer])
    model.score([base])
    before = model.stats

    score = model.score([longer])

    assert model.stats.states.partial_hits == before.states.partial_hits + 1
    assert model.stats.tokens_run - before.tokens_run < before.tokens_run
    assert difference(score, expected) < ALONE


def test_pictures_never_share_what_depends_on_them(exported: Export) -> None:
    base = states_for("mllama")[1][0]
    for family in VISUAL:
        steps = [replace(base, screenshot=lambda i=i: png((90, 60), i)) for i in range(3)]
        model = open_model(exported, family)

        together = model.score([*steps, replace(base, screenshot=None)])

        alone = [open_model(exported, family).score([step]).total[0] for step in steps]
        assert np.abs(together.total[:3] - alone).max() < ALONE
        assert len(set(together.total.tolist())) == 4


def test_full_cache_gives_up_the_least_recently_used(exported: Export) -> None:
    steps = [Step(f"Task number {i}", (), "click button OK") for i in range(6)]
    large = open_model(exported, "qwen2")
    expected = large.score(steps)
    capacity = large.stats.states.nbytes // 2
    model = open_model(exported, "qwen2", state_cache_bytes=capacity)

    scores = model.score(steps)

    stats = model.stats.states
    assert difference(scores, expected) < ALONE
    assert stats.nbytes <= capacity
    assert stats.evictions == 6 - stats.entries > 0
    model.clear_caches()
    assert (model.stats.states.nbytes, model.stats.states.entries) == (0, 0)


def test_rank_puts_the_best_first_and_keeps_the_order_of_ties(exported: Export) -> None:
    model = open_model(exported, "bert")
    state = Step("Buy a ticket", (), "", "button Buy, link Help")
    actions = ["click Help", "click Buy", "click Help", "type 1"]

    ranked = model.rank(state, actions)

    totals = [entry.score.total for entry in ranked]
    scores = model.score([replace(state, action=action) for action in actions])
    assert totals == sorted(scores.total.tolist(), reverse=True)
    assert [entry.action for entry in ranked].count("click Help") == 2
    assert model.rank(state, []) == ()


def test_no_steps_have_no_scores(exported: Export) -> None:
    scores = open_model(exported, "bert").score([])

    assert (scores.total.shape, scores.dims.shape, scores.weights.shape) == ((0,), (0, 5), (0, 5))


def raising() -> bytes:
    raise OSError("the browser is gone")


BAD = {
    "truncated": (lambda: png((90, 60))[:200], "PNG"),
    "gif": (lambda: b"GIF89a" + bytes(40), "GIF"),
    "empty": (lambda: b"", "expected PNG, JPEG or WebP"),
    "no bytes": (lambda: "text", "of the type str"),
    "huge": (lambda: png((400, 400)), "pixels"),
    "raising": (raising, "OSError: the browser is gone"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_screenshot_fails_its_own_step_only(exported: Export, name: str) -> None:
    screenshot, message = BAD[name]
    good = states_for("qwen2_vl")[1][0]
    small = replace(good, screenshot=lambda: png((90, 60)))
    model = open_model(exported, "qwen2_vl", max_pixels=100_000)

    rows = model.score_rows([small, replace(good, screenshot=screenshot), small])

    assert list(rows.errors) == [1]
    assert isinstance(rows.errors[1], DataError)
    assert message in str(rows.errors[1])
    assert np.isfinite(rows.scores.total[[0, 2]]).all()
    assert np.isnan(rows.scores.total[1])
    with pytest.raises(DataError):
        model.score([replace(good, screenshot=screenshot)])


def test_long_texts_are_cut_and_said_and_a_long_action_is_refused(exported: Export) -> None:
    model = open_model(exported, "bert")
    good = Step("Buy a ticket", (), "click Buy")
    long = replace(good, observation="word " * 200_000)
    refused = replace(good, action="click " * 2_000)

    rows = model.score_rows([good, long, refused])

    assert rows.num_cut[0] == 0 < rows.num_cut[1]
    assert list(rows.errors) == [2]
    assert isinstance(rows.errors[2], DataError)
    assert np.isfinite(rows.scores.total[:2]).all()


def test_states_that_overflow_are_an_error_and_not_kept(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    module = checkpoints.write_checkpoint(checkpoint, "qwen2")
    with torch.no_grad():
        module.model.norm.weight.fill_(3e38)
    module.save_pretrained(checkpoint)
    export_reward_model(checkpoint, tmp_path / "model", ExportOptions(random_heads=0))
    model = RewardModel(tmp_path / "model", providers="cpu")

    rows = model.score_rows([Step("Buy a ticket", (), "click Buy")] * 2)

    assert set(rows.errors) == {0, 1}
    assert isinstance(rows.errors[0], InferenceError)
    assert "not finite" in str(rows.errors[0])
    assert model.stats.states.entries == 0
    with pytest.raises(InferenceError, match="not finite"):
        model.features([Step("Buy a ticket", (), "click Buy")])


def test_text_model_never_looks_at_a_screenshot(exported: Export) -> None:
    step = Step("Buy a ticket", (), "click Buy", screenshot=raising)

    score = open_model(exported, "qwen2").score([step])

    assert np.isfinite(score.total).all()


def copy_of(folder: Path, out: Path) -> Path:
    out.mkdir()
    for path in folder.iterdir():
        (out / path.name).write_bytes(path.read_bytes())
    return out


def truncated(folder: Path) -> None:
    path = folder / "decoder.onnx"
    path.write_bytes(path.read_bytes()[:-100])


def altered(folder: Path) -> None:
    path = folder / "heads.onnx"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))


def missing(folder: Path) -> None:
    (folder / "heads.onnx").unlink()


def unknown_family(folder: Path) -> None:
    path = folder / MANIFEST_NAME
    path.write_text(path.read_text().replace('"qwen2"', '"gpt"'))


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (truncated, "bytes; expected"),
        (altered, "was altered"),
        (missing, "is missing"),
        (unknown_family, "Invalid enum value 'gpt'"),
    ],
)
def test_broken_folders_are_refused(
    exported: Export, tmp_path: Path, break_it: Callable[[Path], None], message: str
) -> None:
    folder = copy_of(exported("qwen2")[1], tmp_path / "model")
    break_it(folder)

    with pytest.raises(ModelError, match=message):
        RewardModel(folder, providers="cpu")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": 96}, "has hidden float32"),
        ({"files": []}, "does not name decoder.onnx"),
        ({"reward": {"decoder": {"kv_dtype": "float16"}}}, "the manifest has float16"),
        ({"reward": {"decoder": {"head_dim": 16}}}, "the manifest has float32 and 16 as axis 3"),
    ],
)
def test_graphs_that_do_not_fit_the_manifest_are_refused(
    exported: Export, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    folder = copy_of(exported("qwen2")[1], tmp_path / "model")
    path = folder / MANIFEST_NAME
    record = json.loads(path.read_text())
    decoder = change.get("reward", {}).get("decoder", {})
    record["reward"]["decoder"] |= decoder
    record |= {name: value for name, value in change.items() if name != "reward"}
    path.write_text(json.dumps(record))

    with pytest.raises(ModelError, match=message):
        RewardModel(folder, providers="cpu")


def test_truncated_graph_is_refused_where_files_are_not_verified(
    exported: Export, tmp_path: Path
) -> None:
    folder = copy_of(exported("qwen2")[1], tmp_path / "model")
    path = folder / "heads.onnx"
    path.write_bytes(bytes(path.stat().st_size))

    with pytest.raises(ModelError, match="is no ONNX model"):
        RewardModel(folder, providers="cpu", verify=False)


def test_links_of_a_hub_cache_are_followed(exported: Export, tmp_path: Path) -> None:
    for path in exported("qwen2")[1].iterdir():
        (tmp_path / path.name).symlink_to(path)

    assert RewardModel(tmp_path, providers="cpu").manifest.family == "qwen2"


def test_provider_that_is_not_there_is_an_error(exported: Export) -> None:
    with pytest.raises(InferenceError, match="NoSuchExecutionProvider"):
        open_model(exported, "bert", providers="NoSuchExecutionProvider")


@pytest.mark.parametrize(
    "option", ["max_batch_tokens", "state_cache_bytes", "picture_cache_bytes", "max_pixels"]
)
def test_options_out_of_range_are_refused(exported: Export, option: str) -> None:
    with pytest.raises(ValueError, match=f"{option} is -1"):
        open_model(exported, "bert", **{option: -1})


def test_threads_agree_through_a_batching_scorer(exported: Export) -> None:
    model = open_model(exported, "bert")
    steps = [Step(f"Task {i % 7}", (), f"click button {i % 31}") for i in range(640)]
    expected = model.score(steps).total
    found = np.full(len(steps), np.nan)

    def work(scorer: BatchingScorer, first: int) -> None:
        for i in range(first, len(steps), 8):
            found[i] = scorer.score([steps[i]]).total[0]

    with BatchingScorer(model) as scorer:
        threads = [threading.Thread(target=work, args=(scorer, k)) for k in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert np.abs(found - expected).max() < ALONE


def test_scoring_imports_neither_torch_nor_transformers(exported: Export) -> None:
    code = (
        "import sys; from similar_fast import RewardModel, Step; "
        f"model = RewardModel.from_pretrained({str(exported('qwen2_vl')[1])!r}); "
        "print(len(model.score([Step('a', (), 'b')]))); "
        "print(sorted({'torch', 'transformers', 'onnx', 'jinja2'} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split("\n")[:2] == ["1", "[]"]
