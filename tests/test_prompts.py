"""`chat_messages` and `PromptWriter`: words, borders, sharing, what is cut, what is refused."""

import re
import resource
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prompt_checkpoints import image_token, save_checkpoint
from similar_fast.dimensions import DIMENSIONS
from similar_fast.errors import DataError, ModelError
from similar_fast.kept import Kept
from similar_fast.models.manifest import Piece, PromptSpec
from similar_fast.models.tokens import open_tokenizer
from similar_fast.prompts import SYSTEM_TEXT, Prompt, PromptWriter, chat_messages
from similar_fast.prompts.cutting import StateTexts
from similar_fast.types import Step
from similar_fast_export.chat_template import bert_prompt_spec, prompt_spec
from tokenizers import Tokenizer

FAMILIES = ["qwen2", "qwen2_vl", "mllama", "bert"]

USER = re.compile(
    r"user\s+\[INSTRUCTION\]\n(.*)\n\[OBSERVATION\]\n(.*)\n\[REASON_STEPS\]\n(.*)"
    r"<\|im_end\|>\n<\|im_start\|>assistant",
    re.DOTALL,
)

TEXTS = st.text(st.sampled_from("ab 1.'\n\t<|>é東🙂\u0301\ud800"), max_size=30) | st.text(
    max_size=8
)
STEPS = st.builds(
    Step,
    instruction=TEXTS,
    history=st.lists(TEXTS, max_size=4).map(tuple),
    action=TEXTS,
    observation=TEXTS,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoints")
    for family in FAMILIES:
        save_checkpoint(folder / family, family)
    return folder


Make = Callable[..., PromptWriter]


@pytest.fixture(scope="module")
def make_writer(folder: Path) -> Make:
    specs: dict[str, PromptSpec] = {}

    def make(
        family: str = "qwen2_vl", *, max_positions: int = 4096, **options: int
    ) -> PromptWriter:
        checkpoint, token = folder / family, image_token(family)
        if family not in specs:
            specs[family] = (
                bert_prompt_spec(checkpoint, "screen-first")
                if family == "bert"
                else prompt_spec(checkpoint, "screen-first", image_token=token)
            )
        return PromptWriter(
            specs[family],
            checkpoint / "tokenizer.json",
            max_positions=max_positions,
            image_token=token,
            **options,
        )

    return make


def ids(prompt: Prompt) -> list[int]:
    return [*prompt.prefix.tolist(), *prompt.suffix.tolist()]


def text_of(writer: PromptWriter, prompt: Prompt) -> str:
    return writer._tokenizer.decode(ids(prompt), skip_special_tokens=False)


def user_texts(writer: PromptWriter, prompt: Prompt) -> tuple[str, str, str]:
    """Instruction, observation and history as the prompt has them."""
    found = USER.search(text_of(writer, prompt))
    assert found is not None
    instruction, observation, history = found.groups()
    return instruction, observation, history


def test_system_text_names_the_five_dimensions() -> None:
    assert SYSTEM_TEXT == (
        "You judge the next action of an agent that operates a graphical user interface. Judge it "
        "by helpfulness, odds of success, efficiency, task relevance and coherence."
    )
    assert all(dimension in SYSTEM_TEXT for dimension in DIMENSIONS)


def test_messages_without_a_picture_are_strings() -> None:
    step = Step(" Log in", ("a ", "b"), " \nclick C\n", "button C\n")

    messages = chat_messages(step, "screen-first")

    assert [x["role"] for x in messages] == ["system", "user", "assistant"]
    assert messages[1]["content"] == (
        "[INSTRUCTION]\n Log in\n[OBSERVATION]\nbutton C\n\n"
        "[REASON_STEPS]\nStep 1 : a\n\nStep 2 : b"
    )
    assert messages[2]["content"] == "click C"


@pytest.mark.parametrize(
    ("layout", "before", "after"),
    [
        ("screen-first", "[INSTRUCTION]\nI\n[OBSERVATION]\n", "O\n[REASON_STEPS]\nNone"),
        ("history-first", "[INSTRUCTION]\nI\n[REASON_STEPS]\nNone\n[OBSERVATION]\n", "O"),
    ],
)
def test_picture_stands_between_two_texts(layout: str, before: str, after: str) -> None:
    step = Step("I", (), "A", "O", bytes)

    assert chat_messages(step, layout)[1]["content"] == [  # type: ignore[arg-type]  # one of the two
        {"type": "text", "text": before},
        {"type": "image"},
        {"type": "text", "text": after},
    ]


@pytest.mark.parametrize("family", FAMILIES)
def test_text_from_outside_cannot_forge_a_control_token(family: str, make_writer: Make) -> None:
    writer = make_writer(family)
    controls = writer._control_tokens()
    names = [writer._tokenizer.id_to_token(number) for number in sorted(controls)]
    evil = "x".join(names) + "".join(names)
    num_image_tokens = 0 if image_token(family) is None else 3

    forged = writer.write(Step(evil, (evil, evil), evil, evil), num_image_tokens)
    honest = writer.write(Step("x", ("x", "x"), "x", "x"), num_image_tokens)

    assert [x for x in ids(forged) if x in controls] == [x for x in ids(honest) if x in controls]
    if family != "bert":  # whose words are lower-cased and spaced
        assert text_of(writer, forged).count(evil) == 5


@pytest.mark.parametrize("family", FAMILIES)
def test_halves_of_surrogate_pairs_are_question_marks(family: str, make_writer: Make) -> None:
    writer = make_writer(family)

    broken = writer.write(Step("a\ud800", ("b\udfff",), "\ud83d", "\ude00c"))
    asked = writer.write(Step("a?", ("b?",), "?", "?c"))

    assert ids(broken) == ids(asked)


def test_picture_is_as_many_tokens_as_asked_for_and_nothing_without(make_writer: Make) -> None:
    writer = make_writer("qwen2_vl")
    step = Step("Log in", (), "click A")
    token = image_token("qwen2_vl")

    with_image, without = writer.write(step, 5), writer.write(step)

    start = with_image.image_start
    assert with_image.prefix[start : start + 5].tolist() == [token] * 5
    assert ids(with_image).count(token) == 5
    assert without.image_start == -1
    assert len(without) == len(with_image) - 7  # the two around the picture go with it
    assert "<|vision_start|>" not in text_of(writer, without)


def test_prompts_of_a_state_share_one_prefix_that_cannot_be_written(make_writer: Make) -> None:
    writer = make_writer()
    steps = [Step("Log in", ("a",), f"click {i}", "screen") for i in range(3)]
    steps.append(Step("Log in", ("a",), "click 0", "other screen"))

    first, second, third, other = writer.write_all(steps, [2, 2, 4, 2])
    (again,) = writer.write_all([Step("Log in", ("a",), "click 9", "screen")], [2])

    assert first.prefix is second.prefix is again.prefix
    assert first.prefix is not third.prefix
    assert first.prefix is not other.prefix
    assert first.suffix is other.suffix
    assert first.prefix.dtype == first.suffix.dtype == np.int64
    with pytest.raises(ValueError, match="read-only"):
        first.prefix[0] = 1


def test_nothing_is_kept_beyond_the_bytes_given(make_writer: Make) -> None:
    writer, keeps_none = make_writer(cache_bytes=20_000), make_writer(cache_bytes=0)

    for i in range(200):
        writer.write(Step(f"Task {i}", (), f"click {i}", "screen " * 20))
    a, b = keeps_none.write_all([Step("T", (), "a"), Step("T", (), "b")], [0, 0])

    assert 10_000 < writer._prefixes.num_bytes <= 20_000
    assert 10_000 < writer._suffixes.num_bytes <= 20_000
    assert a.prefix is b.prefix  # within a call all the same
    assert len(keeps_none._prefixes) == len(keeps_none._suffixes) == 0


def test_least_recently_used_goes_first_and_what_is_too_large_is_not_kept() -> None:
    kept: Kept[str, int] = Kept(10)
    for key in "abc":
        kept.put(key, ord(key), 3)

    assert kept.get("a") == ord("a")
    kept.put("d", ord("d"), 3)
    kept.put("large", 1, 11)

    assert [kept.get(key) is not None for key in ("a", "b", "c", "d", "large")] == [
        True,
        False,
        True,
        True,
        False,
    ]
    assert kept.num_bytes == 9


def test_many_threads_get_the_same_prompts(make_writer: Make) -> None:
    writer = make_writer(cache_bytes=4_000)
    steps = [Step(f"Task {i % 7}", ("a",) * (i % 3), f"click {i % 11}") for i in range(300)]
    expected = [ids(writer.write(step)) for step in steps]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda step: ids(writer.write(step)), steps))

    assert found == expected


def test_oldest_actions_go_first_and_the_others_keep_their_numbers(make_writer: Make) -> None:
    history = tuple(f"click button {i}" for i in range(1, 41))
    step = Step("Log in", history, "click A", "the screen")
    whole = make_writer(max_positions=8192).write(step)
    writer = make_writer(max_positions=400)

    prompt = writer.write(step)

    instruction, observation, kept = user_texts(writer, prompt)
    numbers = [int(number) for number in re.findall(r"Step (\d+) :", kept)]
    assert (instruction, observation) == ("Log in", "the screen")
    assert numbers == list(range(numbers[0], 41))
    assert 1 < numbers[0] < 40
    assert kept.endswith("Step 40 : click button 40")
    assert prompt.num_cut == len(whole) - len(prompt) > 0
    more = StateTexts("Log in", "the screen", history[numbers[0] - 2 :], numbers[0] - 2)
    limit = 400 - writer.action_room
    assert len(prompt.prefix) <= limit < len(writer._prefix_template.write(more.fields()).ids)


def test_then_the_end_of_the_observation_then_of_the_instruction(make_writer: Make) -> None:
    screen = " ".join(f"button {i}" for i in range(300))
    task = " ".join(f"do {i}" for i in range(300))
    writer = make_writer(max_positions=300)

    no_history = writer.write(Step("Log in", ("a", "b"), "c", screen))
    no_screen = writer.write(Step(task, ("a", "b"), "c", screen))

    limit = 300 - writer.action_room
    instruction, observation, history = user_texts(writer, no_history)
    assert (instruction, history) == ("Log in", "")
    assert observation
    assert screen.startswith(observation)
    assert limit - 3 <= len(no_history.prefix) <= limit
    instruction, observation, history = user_texts(writer, no_screen)
    assert (observation, history) == ("", "")
    assert instruction
    assert task.startswith(instruction)
    assert limit - 3 <= len(no_screen.prefix) <= limit


def test_history_of_nothing_stays_none_when_the_screen_is_cut(make_writer: Make) -> None:
    writer = make_writer(max_positions=300)

    prompt = writer.write(Step("Log in", (), "c", "button " * 500))

    assert user_texts(writer, prompt)[2] == "None"


def test_what_fits_is_never_cut_and_one_token_more_is(make_writer: Make) -> None:
    step = Step("Log in", ("a", "b"), "click A", "the screen " * 100)
    need = len(make_writer(max_positions=8192).write(step).prefix)
    positions = next(
        n for n in range(need, 2 * need) if n - make_writer(max_positions=n).action_room >= need
    )

    assert make_writer(max_positions=positions).write(step).num_cut == 0
    assert make_writer(max_positions=positions - 2).write(step).num_cut > 0


def test_cutting_is_the_same_for_every_action_that_fits_its_room(make_writer: Make) -> None:
    writer = make_writer(max_positions=400)
    state = Step("Log in", ("a",), "", "button " * 500)
    steps = [replace(state, action=action) for action in ("", "a", "click A " * 20)]
    long = replace(state, action="click A " * 40)

    short, other, full, over = writer.write_all([*steps, long], [0] * 4)

    assert short.prefix is other.prefix is full.prefix
    assert len(full.suffix) <= writer.action_room < len(over.suffix)
    assert len(over.prefix) < len(full.prefix)
    assert len(over) <= 400
    assert over.num_cut > full.num_cut


def test_long_action_beside_a_short_state_cuts_nothing(make_writer: Make) -> None:
    writer = make_writer(max_positions=400)
    long = Step("Log in", ("a",), "click A " * 40, "screen")

    first, second = writer.write_all([long, replace(long, action="a")], [0, 0])

    assert first.num_cut == 0
    assert len(first.suffix) > writer.action_room
    assert first.prefix is second.prefix


def test_what_cannot_be_cut_and_does_not_fit_is_a_data_error(make_writer: Make) -> None:
    writer = make_writer(max_positions=300)

    with pytest.raises(DataError, match=r"template and picture have 3\d\d tokens .* at most 300"):
        writer.write(Step("a", (), "b"), 250)
    with pytest.raises(DataError, match=r"an action has \d+ tokens; expected fewer than 300"):
        writer.write(Step("a", (), "click A " * 200))
    with pytest.raises(DataError, match=r"have \d+ tokens and its action 2\d\d; expected at most"):
        writer.write(Step("a", (), "b 1 " * 65))
    with pytest.raises(DataError, match=r"an action has 20000 characters; expected at most 9600"):
        writer.write(Step("a", (), "b" * 20_000))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("family", ["qwen2_vl", "bert"])
@pytest.mark.parametrize(
    "step",
    [
        Step("a", (), "b", "word another " * 1_600_000),
        Step("word another " * 1_600_000, ("a",), "b", "c"),
        Step("a", ("word another " * 1_600_000, "click C"), "b"),
        Step("a", ("click the button now",) * 1_000_000, "b"),
        Step("a", (), "b", " " * 20_000_000),
        Step("a", (), "b", "é" * 20_000_000),
    ],
    ids=["screen", "instruction", "action", "actions", "blanks", "one word"],
)
def test_text_of_20_mb_takes_bounded_memory(family: str, step: Step, make_writer: Make) -> None:
    writer = make_writer(family, max_positions=8192)
    writer.write(Step("a", (), "b"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    prompt = writer.write(step)

    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KiB
    assert len(prompt) <= 8192
    assert prompt.num_cut > 1_000_000
    assert len(writer._prefixes) == 1  # so large a state is not kept


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(step=STEPS, action=TEXTS, family=st.sampled_from(FAMILIES), image=st.integers(0, 3))
def test_prefix_tells_of_the_state_alone_and_suffix_of_the_action_alone(
    make_writer: Make, step: Step, action: str, family: str, image: int
) -> None:
    writer = make_writer(family, cache_bytes=0)
    image = 0 if image_token(family) is None else image

    prompt = writer.write(step, image)
    other_action = writer.write(replace(step, action=action), image)
    other_state = writer.write(Step("x", (), step.action), image)

    assert prompt.prefix.tolist() == other_action.prefix.tolist()
    assert prompt.suffix.tolist() == other_state.suffix.tolist()
    assert (prompt.gate_index, prompt.image_start) == (
        other_action.gate_index,
        other_action.image_start,
    )
    assert 0 <= prompt.gate_index < len(prompt.prefix)
    assert prompt.num_cut == 0


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    steps=st.lists(STEPS, max_size=6),
    family=st.sampled_from(FAMILIES),
    positions=st.integers(90, 200),
)
def test_writing_all_is_writing_one_by_one(
    make_writer: Make, steps: list[Step], family: str, positions: int
) -> None:
    writer = make_writer(family, max_positions=positions)
    fresh = make_writer(family, max_positions=positions, cache_bytes=0)
    try:
        together = writer.write_all(steps, [0] * len(steps))
    except DataError:
        return

    alone = [fresh.write(step) for step in steps]

    assert [ids(x) for x in together] == [ids(x) for x in alone]
    for name in ("gate_index", "image_start", "num_cut"):
        assert [getattr(x, name) for x in together] == [getattr(x, name) for x in alone]


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(
    step=STEPS, repeat=st.integers(1, 30), positions=st.integers(60, 260), image=st.integers(0, 9)
)
def test_prompt_never_has_more_than_its_positions_and_only_the_named_texts_are_cut(
    make_writer: Make, step: Step, repeat: int, positions: int, image: int
) -> None:
    step = replace(step, observation=step.observation * repeat, history=step.history * repeat)
    writer = make_writer(max_positions=positions, cache_bytes=0)
    whole = make_writer(max_positions=1 << 20, cache_bytes=0).write(step, image)
    empty = writer._prefix_template.write(
        StateTexts("", "", (), len(step.history)).fields(), num_image_tokens=image
    )
    least = len(empty.ids) + max(len(whole.suffix), writer.action_room)
    if least > positions:
        with pytest.raises(DataError):
            writer.write(step, image)
        return

    prompt = writer.write(step, image)

    assert len(prompt) <= positions
    assert prompt.suffix.tolist() == whole.suffix.tolist()
    assert prompt.prefix[:-1].tolist().count(image_token("qwen2_vl")) == image
    assert (prompt.num_cut > 0) == (prompt.prefix.tolist() != whole.prefix.tolist())
    if prompt.num_cut:
        assert len(whole.prefix) + max(len(whole.suffix), writer.action_room) > positions
    kept, given_texts = user_texts(writer, prompt), user_texts(writer, whole)
    assert given_texts[2].endswith(kept[2])
    if kept[2] != given_texts[2] and kept[2]:
        assert kept[:2] == given_texts[:2]


def test_wrong_numbers_of_image_tokens_are_value_errors(make_writer: Make) -> None:
    step = Step("a", (), "b")

    with pytest.raises(ValueError, match="2 numbers of image tokens for 1 steps"):
        make_writer().write_all([step], [0, 0])
    with pytest.raises(ValueError, match="num_image_tokens is -1; expected at least 0"):
        make_writer().write(step, -1)
    with pytest.raises(ValueError, match="num_image_tokens is 1; expected 0, since the model has"):
        make_writer("qwen2").write(step, 1)


def test_wrong_limits_are_value_errors(make_writer: Make) -> None:
    with pytest.raises(ValueError, match="max_positions and cache_bytes are 0 and 1;"):
        make_writer(max_positions=0, cache_bytes=1)
    with pytest.raises(ValueError, match="max_positions and cache_bytes are 1 and -1;"):
        make_writer(max_positions=1, cache_bytes=-1)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"prefix": (Piece(text="a"),)}, "does not end with a control token"),
        ({"prefix": ()}, "does not end with a control token"),
        ({"prefix": (Piece(field="action"), Piece(token=1))}, "has the fields"),
        ({"suffix": (Piece(field="history"),)}, "has the fields"),
        ({"suffix": (Piece(text="a"),)}, "has the fields"),
        ({"suffix": (Piece(field="action"), Piece(token=300))}, r"has the tokens \[300\]"),
        ({"suffix": (Piece(field="action"), Piece(token=10**6))}, r"tokens \[1000000\]"),
        ({"gate_offset": -40}, "gate_offset is -40; expected"),
        ({"gate_offset": 40}, "gate_offset is 40; expected"),
    ],
)
def test_spec_that_does_not_fit_is_a_model_error(
    change: dict[str, object], match: str, folder: Path
) -> None:
    spec = prompt_spec(folder / "qwen2", "screen-first")

    with pytest.raises(ModelError, match=match):
        PromptWriter(
            replace(spec, **change),  # type: ignore[arg-type]  # one of its fields
            folder / "qwen2" / "tokenizer.json",
            max_positions=100,
        )


def test_place_for_a_picture_without_its_token_is_a_model_error(folder: Path) -> None:
    spec = prompt_spec(folder / "qwen2_vl", "screen-first", image_token=image_token("qwen2_vl"))

    with pytest.raises(ModelError, match=r"has the tokens \[None\]"):
        PromptWriter(spec, folder / "qwen2_vl" / "tokenizer.json", max_positions=100)


def test_tokenizer_that_cannot_read_a_text_is_a_model_error(folder: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_file(str(folder / "bert" / "tokenizer.json"))
    spec = bert_prompt_spec(folder / "bert", "screen-first")
    path = tmp_path / "tokenizer.json"
    path.write_text(tokenizer.to_str().replace('"unk_token":"[UNK]"', '"unk_token":"[GONE]"'))
    writer = PromptWriter(spec, path, max_positions=100)

    with pytest.raises(ModelError, match="the tokenizer cannot read a text"):
        writer.write(Step("\u4e00", (), "b"))


def test_tokenizer_file_is_opened_safely(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tokenizer.json"
    with pytest.raises(ModelError, match=r"is no tokenizer that can be read"):
        open_tokenizer(path)
    path.write_text("{")
    with pytest.raises(ModelError, match=r"is no tokenizer that can be read"):
        open_tokenizer(path)
    monkeypatch.setattr("similar_fast.models.tokens.MAX_TOKENIZER_BYTES", 0)
    with pytest.raises(ModelError, match=r"holds 1 bytes; expected at most 0"):
        open_tokenizer(path)
    monkeypatch.undo()
    tokenizer = Tokenizer.from_file(str(folder / "bert" / "tokenizer.json"))
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=9)
    tokenizer.save(str(path))
    assert len(open_tokenizer(path).encode("a b c d", add_special_tokens=False)) >= 4
