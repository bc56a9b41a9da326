"""Chat templates as pieces: token for token what transformers makes of `chat_messages`."""

import json
import os
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import PIL.Image
import pytest
from prompt_checkpoints import (
    LLAMA_REFUSING_TEMPLATE,
    LLAMA_TRIMMING_TEMPLATE,
    QWEN_TEMPLATE,
    QWEN_VL_TEMPLATE,
    image_token,
    random_step,
    save_checkpoint,
)
from similar_fast.errors import ModelError
from similar_fast.models.manifest import PromptSpec
from similar_fast.prompts import Layout, PromptWriter, chat_messages, history_text
from similar_fast.types import Step
from similar_fast_export.chat_template import TEMPLATE_DATE, bert_prompt_spec, prompt_spec
from tokenizers import Tokenizer
from transformers import MllamaProcessor, PreTrainedTokenizerFast, Qwen2VLProcessor
from transformers.models.mllama.image_processing_pil_mllama import MllamaImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.processing_utils import ProcessorMixin

NUM_CASES = 300
LAYOUTS: tuple[Layout, Layout] = ("screen-first", "history-first")
POSITIONS = 1 << 20

Ids = list[int]
Oracle = Callable[[Step, Layout, PIL.Image.Image | None], tuple[Ids, int]]


def our_ids(writer: PromptWriter, step: Step, num_image_tokens: int) -> Ids:
    prompt = writer.write(step, num_image_tokens)
    assert prompt.num_cut == 0
    return [*prompt.prefix.tolist(), *prompt.suffix.tolist()]


def template_of(folder: Path) -> str:
    return json.loads((folder / "chat_template.json").read_text())["chat_template"]


def qwen2_oracle(folder: Path) -> Oracle:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    tokenizer.chat_template = template_of(folder)

    def ids(step: Step, layout: Layout, picture: PIL.Image.Image | None) -> tuple[Ids, int]:
        assert picture is None
        out = tokenizer.apply_chat_template(chat_messages(step, layout), tokenize=True)
        return out["input_ids"], 0

    return ids


def processor_oracle(folder: Path, family: str) -> Oracle:
    """The processor of transformers: template, placeholders and tokenizer."""
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    options: dict[str, Any] = {"chat_template": template_of(folder)}
    processor: Any
    if family == "qwen2_vl":
        pixels = {"shortest_edge": 28 * 28, "longest_edge": 28 * 28 * 64}
        processor = Qwen2VLProcessor(Qwen2VLImageProcessorPil(size=pixels), tokenizer, **options)
        told = {}
    else:
        pictures = MllamaImageProcessorPil(size={"height": 56, "width": 56})
        processor = MllamaProcessor(pictures, tokenizer, **options)
        told = {"date_string": TEMPLATE_DATE.strftime("%d %b %Y")}

    def ids(step: Step, layout: Layout, picture: PIL.Image.Image | None) -> tuple[Ids, int]:
        messages: Any = chat_messages(step, layout)
        if picture is not None:
            messages[1]["content"][1]["image"] = picture
        out = processor.apply_chat_template(messages, tokenize=True, return_dict=True, **told)
        ids = list(out["input_ids"][0])
        return ids, ids.count(image_token(family))

    return ids


@pytest.fixture
def make_oracle(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, str], Oracle]:
    # The check of the parts' classes wants torchvision, for the videos' part, which is not used.
    monkeypatch.setattr(ProcessorMixin, "check_argument_for_proper_class", lambda *_: None)

    def make(folder: Path, family: str) -> Oracle:
        return qwen2_oracle(folder) if family == "qwen2" else processor_oracle(folder, family)

    return make


def expect_refusal(folder: Path, *, token: int | None, match: str) -> None:
    with pytest.raises(ModelError, match=match):
        prompt_spec(folder, "screen-first", image_token=token)


@pytest.mark.parametrize("family", ["qwen2", "qwen2_vl", "mllama"])
def test_ids_equal_those_of_transformers(
    family: str, tmp_path: Path, make_oracle: Callable[[Path, str], Oracle]
) -> None:
    folder = save_checkpoint(tmp_path, family)
    token = image_token(family)
    oracle = make_oracle(folder, family)
    specs = {layout: prompt_spec(folder, layout, image_token=token) for layout in LAYOUTS}
    writers = {
        layout: PromptWriter(
            spec, folder / "tokenizer.json", max_positions=POSITIONS, image_token=token
        )
        for layout, spec in specs.items()
    }
    draw = random.Random(5)
    num_pictures = 0

    for case in range(NUM_CASES):
        layout = LAYOUTS[case % 2]
        step = random_step(draw, has_image=token is not None and draw.random() < 0.5)
        size = (draw.randrange(28, 150), draw.randrange(28, 150))
        picture = None if step.screenshot is None else PIL.Image.new("RGB", size)
        expected, num_image_tokens = oracle(step, layout, picture)

        assert our_ids(writers[layout], step, num_image_tokens) == expected, step
        num_pictures += num_image_tokens > 0

    assert (num_pictures > 100) == (token is not None)


def test_bert_ids_equal_those_of_transformers(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path, "bert")
    oracle = PreTrainedTokenizerFast.from_pretrained(folder)
    draw = random.Random(6)

    for case in range(NUM_CASES):
        layout = LAYOUTS[case % 2]
        spec = bert_prompt_spec(folder, layout)
        writer = PromptWriter(spec, folder / "tokenizer.json", max_positions=POSITIONS)
        step = random_step(draw, has_image=False)
        state = [step.observation, history_text(step.history)]
        if layout == "history-first":
            state.reverse()
        text = f"[CLS]{step.instruction}[SEP]{'[SEP]'.join(state)}[SEP]{step.action}[SEP]"

        prompt = writer.write(step)

        found = [*prompt.prefix.tolist(), *prompt.suffix.tolist()]
        assert found == oracle(text, add_special_tokens=False)["input_ids"], step
        assert prompt.prefix[prompt.gate_index] == oracle.convert_tokens_to_ids("[CLS]")


@pytest.mark.parametrize(
    ("family", "gate", "last"),
    [("qwen2_vl", "<|im_start|>", "<|im_start|>"), ("mllama", "<|eot_id|>", "<|end_header_id|>")],
)
def test_prefix_ends_at_the_last_border_and_the_gate_reads_the_header(
    family: str, gate: str, last: str, tmp_path: Path
) -> None:
    folder = save_checkpoint(tmp_path, family)
    token = image_token(family)
    spec = prompt_spec(folder, "screen-first", image_token=token)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    writer = PromptWriter(
        spec, folder / "tokenizer.json", max_positions=POSITIONS, image_token=token
    )

    prompt = writer.write(Step("Log in", (), "click A"), 2)

    assert tokenizer.id_to_token(prompt.prefix[prompt.gate_index]) == gate
    assert tokenizer.id_to_token(prompt.prefix[-1]) == last
    header = prompt.prefix[prompt.gate_index :].tolist() + prompt.suffix.tolist()
    text = tokenizer.decode(header, skip_special_tokens=True)
    assert text.split() == ["assistant", "click", "A"]
    assert prompt.prefix[prompt.image_start :].tolist()[:3].count(token) == 2


def test_template_that_trims_comes_out_right_where_nothing_stands_at_its_edges(
    tmp_path: Path, make_oracle: Callable[[Path, str], Oracle]
) -> None:
    folder = save_checkpoint(tmp_path, "mllama", template=LLAMA_TRIMMING_TEMPLATE)
    spec = prompt_spec(folder, "screen-first")
    writer = PromptWriter(spec, folder / "tokenizer.json", max_positions=POSITIONS)
    oracle = make_oracle(folder, "mllama")
    draw = random.Random(7)

    for _ in range(50):
        step = random_step(draw, has_image=False)
        assert our_ids(writer, step, 0) == oracle(step, "screen-first", None)[0]


def test_template_that_trims_the_screen_is_refused(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path, "mllama", template=LLAMA_TRIMMING_TEMPLATE)

    with pytest.raises(ModelError, match=r"alters the texts .* give '.*'; expected '.*'"):
        prompt_spec(folder, "history-first")


def test_template_that_refuses_system_texts_beside_pictures_is_refused_in_its_words(
    tmp_path: Path,
) -> None:
    folder = save_checkpoint(tmp_path, "mllama", template=LLAMA_REFUSING_TEMPLATE)

    expect_refusal(folder, token=image_token("mllama"), match="incompatible with system messages")
    assert prompt_spec(folder, "screen-first").gate_offset == -4  # without pictures it can be used


def test_day_is_the_one_given(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path, "mllama")

    def literals(spec: PromptSpec) -> str:
        return "".join(piece.text or "" for piece in spec.prefix)

    assert "Today Date: 26 Jul 2024\n" in literals(prompt_spec(folder, "screen-first"))
    other = prompt_spec(folder, "screen-first", day=date(2026, 1, 2))
    assert "Today Date: 02 Jan 2026\n" in literals(other)


def test_default_system_text_of_the_template_does_not_come_in(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path, "qwen2")

    spec = prompt_spec(folder, "screen-first")

    texts = [piece.text for piece in spec.prefix if piece.text]
    assert texts[0].startswith("system\nYou judge the next action")
    assert not any("Alibaba" in text for text in texts)


def test_template_is_looked_for_where_transformers_looks(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path, "qwen2_vl")
    token = image_token("qwen2_vl")
    expected = prompt_spec(folder, "screen-first", image_token=token)
    config = json.loads((folder / "tokenizer_config.json").read_text())

    def bump(template: str) -> str:
        return template.replace("<|im_end|>\n", "<|im_end|>\n\n")

    named = [{"name": "tools", "template": "x"}, {"name": "default", "template": QWEN_VL_TEMPLATE}]
    (folder / "chat_template.json").unlink()
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": named}))
    assert prompt_spec(folder, "screen-first", image_token=token) == expected
    (folder / "chat_template.jinja").write_text(bump(QWEN_VL_TEMPLATE))
    found = prompt_spec(folder, "screen-first", image_token=token)
    assert found.suffix[-1] == replace(expected.suffix[-1], text="\n\n")


@pytest.mark.parametrize(
    ("template", "match"),
    [
        ("{% for %}", "is no template"),
        ("{{ raise_exception('not today') }}", "cannot write .*: not today"),
        ("{{ messages.__class__.__mro__ }}", "cannot write"),
        ("{{ messages[0].__init__.__globals__ }}", "cannot write"),
        ("{{ messages.append(1) }}", "cannot write"),
        ("{{ messages[9].content }}", "cannot write"),
        ("hello", "writes the fields"),
        (QWEN_TEMPLATE.replace("message.content", "message.content | upper"), "writes the fields"),
        (QWEN_TEMPLATE.replace("message.content", "message.content * 2"), "writes the fields"),
        (QWEN_TEMPLATE.replace("message.content", "message.content[:400]"), "alters the texts"),
        (
            QWEN_TEMPLATE.replace("message.content", "message.content.replace('&', 'and')"),
            "alters the texts",
        ),
        (
            "{% for message in messages %}{{ message.content }}{% endfor %}<|im_end|>",
            "expected the same, then a control",
        ),
        (
            "{% for x in messages %}<|im_start|>{{ messages | length }}{{ x.content }}{% endfor %}",
            "expected the same, then a control",
        ),
    ],
)
def test_template_that_cannot_be_used_is_a_model_error(
    template: str, match: str, tmp_path: Path
) -> None:
    expect_refusal(save_checkpoint(tmp_path, "qwen2", template=template), token=None, match=match)


def test_template_that_writes_something_else_beside_a_picture_is_refused(tmp_path: Path) -> None:
    template = QWEN_VL_TEMPLATE.replace("{% if add_vision_id %}", "{% if true %}")
    folder = save_checkpoint(tmp_path, "qwen2_vl", template=template)

    expect_refusal(folder, token=image_token("qwen2_vl"), match="expected one picture between")


def test_generation_blocks_write_nothing(tmp_path: Path) -> None:
    marked = QWEN_TEMPLATE.replace(
        "message.content + ", "message.content }}{% generation %}{% endgeneration %}{{ "
    )
    folder = save_checkpoint(tmp_path / "a", "qwen2", template=marked)
    plain = save_checkpoint(tmp_path / "b", "qwen2")

    assert marked != QWEN_TEMPLATE
    assert prompt_spec(folder, "screen-first") == prompt_spec(plain, "screen-first")


def test_missing_and_broken_files_are_model_errors(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path, "qwen2")

    expect_refusal(folder, token=9999, match="no control token 9999")
    (folder / "chat_template.json").write_text("[1]")
    expect_refusal(folder, token=None, match="holds a list; expected an object")
    (folder / "chat_template.json").write_text("{")
    expect_refusal(folder, token=None, match="is no JSON")
    (folder / "chat_template.json").unlink()
    expect_refusal(folder, token=None, match="holds no chat template")
    (folder / "chat_template.jinja").write_bytes(b"\xff")
    expect_refusal(folder, token=None, match="cannot be read")
    (folder / "tokenizer.json").write_text("{}")
    expect_refusal(folder, token=None, match="is no tokenizer")


def test_control_token_that_takes_its_neighbours_blanks_is_refused(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path, "qwen2")
    data = json.loads((folder / "tokenizer.json").read_text())
    for token in data["added_tokens"]:
        token["rstrip"] = token["content"] == "<|im_end|>"
    (folder / "tokenizer.json").write_text(json.dumps(data))

    expect_refusal(folder, token=None, match="takes part of its neighbours")


def test_bert_without_its_control_tokens_is_a_model_error(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path, "qwen2")

    with pytest.raises(ModelError, match=r"no control token \['\[CLS\]', '\[SEP\]'\]"):
        bert_prompt_spec(folder, "screen-first")
