"""Small checkpoints of each family: a tokenizer trained here, with the family's own rules."""

import json
import random
from pathlib import Path

from similar_fast.types import Step
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)

TEXTS = [
    "click button 'Log in'\n\nStep 1 : type \"Anna's\" into textbox\n\nStep 2 : select [2024-1-5]",
    "[INSTRUCTION]\nBook a flight from Oslo to Rome\n[OBSERVATION]\n[REASON_STEPS]\nNone",
    "Ünïcode straße 東京 日本語 привет 🙂👍🏽 don't we'll they're x=1234.56;\r\n\t  </div>  {{ }}",
    "system\nuser\nassistant\nDecember 2023 Today Date: 26 Jul 2024 helpfulness coherence action",
] * 3

_QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA_WORDS = _QWEN_WORDS.replace(r"|\p{N}|", r"|\p{N}{1,3}|")

QWEN_CONTROLS = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
]
LLAMA_CONTROLS = [
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|image|>",
]

QWEN_VL_TEMPLATE = (
    "{% set image_count = namespace(value=0) %}{% set video_count = namespace(value=0) %}"
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n{% if message['content'] is string %}"
    "{{ message['content'] }}<|im_end|>\n{% else %}{% for content in message['content'] %}"
    "{% if content['type'] == 'image' or 'image' in content or 'image_url' in content %}"
    "{% set image_count.value = image_count.value + 1 %}{% if add_vision_id %}"
    "Picture {{ image_count.value }}: {% endif %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif content['type'] == 'video' or 'video' in content %}"
    "{% set video_count.value = video_count.value + 1 %}{% if add_vision_id %}"
    "Video {{ video_count.value }}: {% endif %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QWEN_TEMPLATE = (
    "{%- if messages[0]['role'] == 'system' %}\n"
    "    {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}\n"
    "{%- else %}\n"
    "    {{- '<|im_start|>system\\nYou are Qwen, created by Alibaba Cloud.<|im_end|>\\n' }}\n"
    "{%- endif %}\n"
    "{%- for message in messages %}\n"
    "    {%- if (message.role == 'user') or (message.role == 'system' and not loop.first) or "
    "(message.role == 'assistant' and not message.tool_calls) %}\n"
    "        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}\n"
    "    {%- endif %}\n"
    "{%- endfor %}\n"
    "{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }}\n{%- endif %}\n"
)
LLAMA_TEMPLATE = """{{- bos_token }}
{%- if not date_string is defined %}
    {%- set date_string = strftime_now("%d %b %Y") if strftime_now is defined else "26 Jul 2024" %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{%- set ns = namespace(has_images=false) %}
{%- for message in messages %}
    {%- for content in message['content'] %}
        {%- if content['type'] == 'image' %}{% set ns.has_images = true %}{% endif %}
    {%- endfor %}
{%- endfor %}
REFUSAL
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{{- "Cutting Knowledge Date: December 2023\\n" }}
{{- "Today Date: " + date_string + "\\n\\n" }}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
    {%- if message['content'] is string %}
        {{- message['content'] TRIM }}
    {%- else %}
        {%- for content in message['content'] %}
            {%- if content['type'] == 'image' %}
                {{- '<|image|>' }}
            {%- elif content['type'] == 'text' %}
                {{- content['text'] TRIM }}
            {%- endif %}
        {%- endfor %}
    {%- endif %}
    {{- '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
"""What Llama 3.2's templates write of messages without tools; REFUSAL and TRIM are filled in."""

LLAMA_VISION_TEMPLATE = LLAMA_TEMPLATE.replace("REFUSAL", "").replace(" TRIM", "")
LLAMA_TRIMMING_TEMPLATE = LLAMA_TEMPLATE.replace("REFUSAL", "").replace("TRIM", "| trim")
LLAMA_REFUSING_TEMPLATE = LLAMA_TEMPLATE.replace(" TRIM", "").replace(
    "REFUSAL",
    "{%- if ns.has_images and system_message != '' %}"
    "{{- raise_exception('Prompting with images is incompatible with system messages.') }}"
    "{%- endif %}",
)

TEMPLATES = {
    "qwen2_vl": QWEN_VL_TEMPLATE,
    "qwen2": QWEN_TEMPLATE,
    "mllama": LLAMA_VISION_TEMPLATE,
}


def save_checkpoint(folder: Path, family: str, *, template: str | None = None) -> Path:
    """Tokenizer, its config and the chat template of `family` (bert: no template) in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    if family == "bert":
        tokenizer, config = _wordpiece(), {"cls_token": "[CLS]", "sep_token": "[SEP]"}
    elif family == "mllama":
        tokenizer = _bpe(_LLAMA_WORDS, LLAMA_CONTROLS, normalizer=None)
        config = {
            "bos_token": "<|begin_of_text|>",
            "eos_token": {"__type": "AddedToken", "content": "<|eot_id|>"},
        }
    else:
        tokenizer = _bpe(_QWEN_WORDS, QWEN_CONTROLS, normalizer=normalizers.NFC())
        config = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
        tokenizer.add_tokens([AddedToken("<tool_call>", special=False, normalized=False)])
    tokenizer.save(str(folder / "tokenizer.json"))
    if template is None:
        template = TEMPLATES.get(family)
    if template is not None:
        text = json.dumps({"chat_template": template})
        (folder / "chat_template.json").write_text(text, encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def image_token(family: str) -> int | None:
    """The picture's token of the checkpoints above."""
    if family == "qwen2_vl":
        return QWEN_CONTROLS.index("<|image_pad|>")
    return LLAMA_CONTROLS.index("<|image|>") if family == "mllama" else None


def random_step(draw: random.Random, *, has_image: bool) -> Step:
    """A step of odd texts, none of which holds a control token."""
    num_actions = draw.choice((0, 0, 1, 2, 7))
    return Step(
        random_text(draw),
        tuple(random_text(draw) for _ in range(num_actions)),
        random_text(draw),
        random_text(draw) * draw.choice((1, 1, 5)),
        bytes if has_image else None,
    )


def random_text(draw: random.Random) -> str:
    words = [*" ".join(TEXTS[:4]).split(" "), "", " ", "\n", "\n\n", "\r\n", "\t", "  ", "12345"]
    words += [
        "e\u0301",
        "\u00a0",
        "\u2003",
        "'s",
        "N'T",
        "<|",
        "|>",
        "<tool_call>",
        "\u200d",
        "\ufeff",
    ]
    return draw.choice(("", " ")).join(draw.choices(words, k=draw.choice((0, 1, 2, 5, 20))))


def _bpe(
    words: str, controls: list[str], *, normalizer: normalizers.Normalizer | None
) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(ignore_merges=normalizer is None))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=controls,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def _wordpiece() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))  # noqa: S106  # no password
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=400,
        special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer
