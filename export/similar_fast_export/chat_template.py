"""A checkpoint's chat template -> the pieces of a prompt, which need no template engine."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Literal

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from similar_fast.errors import ModelError
from similar_fast.models.manifest import Piece, PromptSpec
from similar_fast.models.tokens import open_tokenizer
from similar_fast.prompts import (
    ChatMessage,
    Layout,
    PromptWriter,
    chat_messages,
    history_text,
)
from similar_fast.types import Step
from tokenizers import AddedToken, Tokenizer

__all__ = ["TEMPLATE_DATE", "bert_prompt_spec", "prompt_spec", "read_template"]

_Field = Literal["instruction", "observation", "history", "action"]

TEMPLATE_DATE = date(2024, 7, 26)
"""The day that a template is told by default: scores must not change with the calendar."""

_MARKS: dict[_Field, str] = {
    "instruction": "sentinel-of-the-instruction",
    "observation": "sentinel-of-the-observation",
    "history": "Step 1 : sentinel-of-the-history",
    "action": "sentinel-of-the-action",
}
_SPECIAL_NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token")
_CHECKED_POSITIONS = 1 << 20  # so many that nothing is cut in the check
_CHECKED_IMAGE_TOKENS = 3
_SHOWN = 200  # characters of a text in an error

_LONG = "word 12 " * 200
_CHECKED_TEXTS = (
    (_LONG, (_LONG, _LONG), _LONG, _LONG),
    ("Book a flight", ("click A", "type 'x' into B"), "click C", "button A\nlink B"),
    ("", (), "", ""),
    ("\n a\n\n", ("", " b "), "\n c \n", " \n screen \n "),
    ("  1234 {{ x }} {% raw %}", ("None", "\n\n"), "<b>&amp;</b>", "[REASON_STEPS]\n\n\n"),
    ("Ünïcode 東京 🙂", ("e\u0301", "\u00a0x\u2003"), "\t'quoted' \"text\"", "\r\n\r\nlast\r\n"),
)


def prompt_spec(
    checkpoint: str | Path,
    layout: Layout,
    *,
    image_token: int | None = None,
    day: date = TEMPLATE_DATE,
) -> PromptSpec:
    """The pieces of the prompt that the checkpoint's chat template makes of `chat_messages`.

    The template (`chat_template.jinja`, `chat_template.json` or `tokenizer_config.json`, the first
    that is there) runs in a sandbox, on a step with sentinels, once with a picture where the model
    takes pictures and once without. What comes out is split at the control tokens. The pieces are
    then checked on other steps: they must give the template's own text and, by `PromptWriter`, its
    tokens.

    The prefix ends with the last control token before the action. The gate reads the control token
    that the assistant's turn starts with, or the first of those that stand directly before it:
    `<|im_start|>` (Qwen), `<|eot_id|>` (Llama).

    Args:
        checkpoint: Folder with `tokenizer.json` and the template.
        layout: Whether the screen or the history comes first.
        image_token: The token that stands for a picture; None for a model without pictures.
        day: What a template that writes the day is told.

    Raises:
        ModelError: A file is missing or broken; the template fails, refuses such messages, or
            alters texts in a way that pieces cannot tell.
    """
    return _TemplateReader(Path(checkpoint), layout, image_token, day).spec()


def bert_prompt_spec(checkpoint: str | Path, layout: Layout) -> PromptSpec:
    """`[CLS] instruction [SEP] observation [SEP] history [SEP]`, then `action [SEP]`.

    There is no chat template and no system text; the gate reads `[CLS]`.

    Args:
        checkpoint: Folder with `tokenizer.json`.
        layout: Whether the observation or the history comes first.

    Raises:
        ModelError: The tokenizer is missing or broken, or has no such control tokens.
    """
    path = Path(checkpoint) / "tokenizer.json"
    controls = _controls(open_tokenizer(path))
    if missing := {"[CLS]", "[SEP]"} - set(controls):
        raise ModelError(f"{path} has no control token {sorted(missing)}; expected BERT's")
    start, end = (Piece(token=controls[name][0]) for name in ("[CLS]", "[SEP]"))
    observation, history = Piece(field="observation"), Piece(field="history")
    if layout == "history-first":
        observation, history = history, observation
    prefix = (start, Piece(field="instruction"), end, observation, end, history, end)
    return PromptSpec(layout, prefix, (Piece(field="action"), end), gate_offset=0)


class _TemplateReader:
    """One checkpoint's template and tokenizer."""

    def __init__(
        self, checkpoint: Path, layout: Layout, image_token: int | None, day: date
    ) -> None:
        self.checkpoint = checkpoint
        self.layout = layout
        self.image_token = image_token
        self.tokenizer_path = checkpoint / "tokenizer.json"
        self.tokenizer = open_tokenizer(self.tokenizer_path)
        self.controls = _controls(self.tokenizer)
        config = _read_json(checkpoint / "tokenizer_config.json")
        self.names = _special_names(config)
        self.image_text = self.name_of_image()
        self.path, source = read_template(checkpoint)
        try:
            self.template = _environment(day).from_string(source)
        except jinja2.TemplateError as err:
            raise ModelError(f"{self.path} is no template: {err}") from err

    def name_of_image(self) -> str:
        if self.image_token is None:
            return ""
        for name, (number, _) in self.controls.items():
            if number == self.image_token:
                return name
        raise ModelError(
            f"{self.tokenizer_path} has no control token {self.image_token}; expected the picture's"
        )

    def spec(self) -> PromptSpec:
        pieces = self.pieces(has_image=self.image_token is not None)
        action = pieces.index(Piece(field="action"))
        end = max((i for i in range(action) if pieces[i].token is not None), default=-1) + 1
        header = pieces[self.header(pieces, end) : end]
        if self.image_token is not None:
            pieces = self.with_image(pieces, self.pieces(has_image=False))
        offset = -sum(1 if x.token is not None else self.num_tokens(x) for x in header)
        spec = PromptSpec(self.layout, tuple(pieces[:end]), tuple(pieces[end:]), offset)
        self.check(spec)
        return spec

    def pieces(self, *, has_image: bool, num_messages: int = 3) -> list[Piece]:
        """The first messages of a step, rendered and split at control tokens and sentinels."""
        text = self.render(
            chat_messages(_marked_step(has_image=has_image), self.layout)[:num_messages]
        )
        fields = {mark: name for name, mark in _MARKS.items()}
        borders = sorted([*self.controls, *fields], key=len, reverse=True)
        pieces = []
        for part in re.split(f"({'|'.join(map(re.escape, borders))})", text):
            if part in fields:
                pieces.append(Piece(field=fields[part]))
            elif part in self.controls:
                pieces.append(self.control(part))
            elif part:
                pieces.append(Piece(text=part))
        found = [piece.field for piece in pieces if piece.field in _MARKS]
        expected = list(_MARKS)[: num_messages + 1]  # the system message has none, the user's three
        if sorted(map(str, found)) != sorted(expected):
            raise ModelError(
                f"{self.path} writes the fields {found} of a step; expected each of {expected} once"
            )
        return pieces

    def control(self, name: str) -> Piece:
        number, token = self.controls[name]
        if token.lstrip or token.rstrip or token.single_word:
            raise ModelError(
                f"{self.path} writes {name!r}, which takes part of its neighbours (lstrip: "
                f"{token.lstrip}, rstrip: {token.rstrip}, single_word: {token.single_word}); "
                "expected a plain control token"
            )
        return Piece(field="image") if number == self.image_token else Piece(token=number)

    def with_image(self, pieces: list[Piece], without: list[Piece]) -> list[Piece]:
        """`pieces` with those marked that `without` does not have."""
        start = _common(pieces, without)
        end = _common(pieces[start:][::-1], without[start:][::-1])
        image = pieces[start : len(pieces) - end]
        if start + end != len(without) or [x.field for x in image].count("image") != 1:
            raise ModelError(
                f"{self.path} writes a step with a picture otherwise than one without: "
                f"{_shown(pieces[start:])} is there {_shown(without[start:])}; expected one "
                "picture between the same texts"
            )
        marked = [Piece(x.token, x.text, x.field, needs_image=True) for x in image]
        return [*pieces[:start], *marked, *pieces[len(pieces) - end :]]

    def header(self, pieces: list[Piece], end: int) -> int:
        """The index of the piece that the gate reads, before `end`: see `prompt_spec`."""
        turns = self.pieces(has_image=self.image_token is not None, num_messages=2)
        start = len(turns)
        if pieces[:start] != turns or not start < end or pieces[start].token is None:
            raise ModelError(
                f"{self.path} writes {_shown(turns)} before the assistant's turn and "
                f"{_shown(pieces)} with it; expected the same, then a control token"
            )
        while start and pieces[start - 1].token is not None:
            start -= 1
        return start

    def num_tokens(self, piece: Piece) -> int:
        return len(self.tokenizer.encode(piece.text or "", add_special_tokens=False))

    def render(self, messages: Sequence[ChatMessage]) -> str:
        try:
            return self.template.render(
                messages=messages,
                tools=None,
                documents=None,
                add_generation_prompt=False,
                **self.names,
            )
        except Exception as err:  # a template can fail in any way
            raise ModelError(f"{self.path} cannot write the messages of a step: {err}") from err

    def check(self, spec: PromptSpec) -> None:
        """The pieces must give the template's own texts, and the writer their tokens."""
        writer = PromptWriter(
            spec,
            self.tokenizer_path,
            max_positions=_CHECKED_POSITIONS,
            image_token=self.image_token,
        )
        for instruction, history, action, observation in _CHECKED_TEXTS:
            for picture in (None,) if self.image_token is None else (None, bytes):
                step = Step(instruction, history, action, observation, picture)
                text = self.render(chat_messages(step, self.layout))
                found = self.filled(spec, step)
                if found != text:
                    raise ModelError(
                        f"{self.path} alters the texts of a step: its pieces give "
                        f"{_part(found, text)}; expected {_part(text, found)}"
                    )
                self.check_tokens(writer, step, text)

    def check_tokens(self, writer: PromptWriter, step: Step, text: str) -> None:
        count = 0
        if step.screenshot is not None:
            count = _CHECKED_IMAGE_TOKENS
            text = text.replace(self.image_text, self.image_text * count)
        prompt = writer.write(step, count)
        found = [*prompt.prefix.tolist(), *prompt.suffix.tolist()]
        expected = self.tokenizer.encode(text, add_special_tokens=False).ids
        if found != expected:
            raise ModelError(
                f"{self.tokenizer_path} reads {text[:_SHOWN]!r} in pieces as {found}; expected "
                f"{expected}, as in one"
            )

    def filled(self, spec: PromptSpec, step: Step) -> str:
        """The text of the pieces for `step`."""
        names = {number: name for name, (number, _) in self.controls.items()}
        texts = {
            "instruction": step.instruction,
            "observation": step.observation,
            "history": history_text(step.history),
            "action": step.action.strip(),
            "image": self.image_text,
        }
        return "".join(
            texts[piece.field] if piece.field else piece.text or names[piece.token or 0]
            for piece in (*spec.prefix, *spec.suffix)
            if step.screenshot is not None or not piece.needs_image
        )


class _Generation(Extension):
    """`{% generation %}`, which marks the assistant's text for training and writes nothing."""

    tags = {"generation"}  # noqa: RUF012  # as the base class has it

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment(day: date) -> ImmutableSandboxedEnvironment:
    """The environment that transformers runs chat templates in, but for the clock."""

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    def to_json(value: Any, **options: Any) -> str:  # noqa: ANN401  # what json takes
        return json.dumps(value, ensure_ascii=options.pop("ensure_ascii", False), **options)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = day.strftime
    return environment


def read_template(checkpoint: Path) -> tuple[Path, str]:
    """Where the chat template stands, and its text; transformers looks in the same order.

    Raises:
        ModelError: There is none, or a file cannot be read.
    """
    path = checkpoint / "chat_template.jinja"
    if path.is_file():
        try:
            return path, path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as err:
            raise ModelError(f"{path} cannot be read: {err}") from err
    for path in (checkpoint / "chat_template.json", checkpoint / "tokenizer_config.json"):
        data = _read_json(path)
        template = data.get("chat_template")
        if isinstance(template, list):
            template = {x.get("name"): x.get("template") for x in template}.get("default")
        if isinstance(template, str):
            return path, template
    raise ModelError(
        f"{checkpoint} holds no chat template; expected one in chat_template.jinja, "
        "chat_template.json or tokenizer_config.json"
    )


def _read_json(path: Path) -> Mapping[str, Any]:
    """The object in the file at `path`; an empty one where there is no file."""
    if not path.is_file():
        return {}
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as err:
        raise ModelError(f"{path} is no JSON that can be read: {err}") from err
    if not isinstance(data, dict):
        raise ModelError(f"{path} holds a {type(data).__name__}; expected an object")
    return data


def _special_names(config: Mapping[str, Any]) -> dict[str, str]:
    """The texts of `bos_token` and its kind, which templates may name."""
    names = {}
    for key in _SPECIAL_NAMES:
        value = config.get(key)
        if isinstance(value, dict):
            value = value.get("content")
        if isinstance(value, str):
            names[key] = value
    return names


def _controls(tokenizer: Tokenizer) -> dict[str, tuple[int, AddedToken]]:
    added = tokenizer.get_added_tokens_decoder()
    return {token.content: (number, token) for number, token in added.items() if token.special}


def _marked_step(*, has_image: bool) -> Step:
    history = _MARKS["history"].partition(" : ")[2]
    return Step(
        _MARKS["instruction"],
        (history,),
        _MARKS["action"],
        _MARKS["observation"],
        bytes if has_image else None,
    )


def _common(first: Sequence[Piece], second: Sequence[Piece]) -> int:
    """How many pieces both start with."""
    pairs = zip(first, second, strict=False)
    return next((i for i, (x, y) in enumerate(pairs) if x != y), min(len(first), len(second)))


def _shown(pieces: Iterable[Piece]) -> str:
    parts = (str(x.token) if x.token is not None else x.text or f"<{x.field}>" for x in pieces)
    return repr("|".join(parts)[:_SHOWN])


def _part(text: str, other: str) -> str:
    """What of `text` stands around the first place where it differs from `other`."""
    same = next(
        (i for i, (x, y) in enumerate(zip(text, other, strict=False)) if x != y),
        min(len(text), len(other)),
    )
    return repr(text[max(0, same - _SHOWN // 2) : same + _SHOWN // 2])
