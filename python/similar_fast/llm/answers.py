"""What a chat-completions server sends back, and the JSON that a model's answer must hold."""

import re
from typing import Any, Literal, TypeVar

import msgspec

__all__ = ["FORMS", "AnswerError", "Completion", "Form", "parse_answer", "response_format"]

Form = Literal["json_schema", "json_object", "text"]
FORMS: tuple[Form, ...] = ("json_schema", "json_object", "text")
"""How a server can be asked for JSON, the strictest first; not every server takes every one."""

_FENCED = re.compile(r"```(?:json)?[ \t]*\n(.*?)```", re.DOTALL)

_Shape = TypeVar("_Shape", bound=msgspec.Struct)


class AnswerError(ValueError):
    """An answer does not hold what was asked for."""


class TokenCount(msgspec.Struct):
    """How many tokens an answer took, as the server counts them."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class Reply(msgspec.Struct):
    """The message of a choice; the fields are those of the interface."""

    content: str | None = None
    refusal: str | None = None


class Choice(msgspec.Struct):
    """One of the answers; only the first is looked at."""

    message: Reply
    finish_reason: str | None = None


class Completion(msgspec.Struct):
    """What a server answers; the fields that are not listed are not read."""

    choices: list[Choice]
    usage: TokenCount | None = None

    @property
    def text(self) -> str:
        """What the model said.

        Raises:
            AnswerError: It said nothing, refused, or was cut off at the limit of tokens.
        """
        if not self.choices:
            raise AnswerError("the answer has no choices, expected one")
        choice = self.choices[0]
        if choice.message.refusal:
            raise AnswerError(f"the model refused: {choice.message.refusal[:200]}")
        if choice.finish_reason == "length":
            raise AnswerError("the answer was cut off at the limit of tokens; raise max_tokens")
        if not choice.message.content:
            raise AnswerError(f"the answer is empty (finish_reason {choice.finish_reason!r})")
        return choice.message.content


def response_format(form: Form, shape: type[msgspec.Struct]) -> dict[str, Any] | None:
    """The field `response_format` that asks for `shape` in this form; None leaves it out."""
    match form:
        case "json_schema":
            schema = {"name": shape.__name__, "strict": True, "schema": _json_schema(shape)}
            return {"type": form, "json_schema": schema}
        case "json_object":
            return {"type": form}
        case "text":
            return None


def _json_schema(shape: type[msgspec.Struct]) -> dict[str, Any]:
    """The schema of `shape` with an object at its top, which strict servers insist on."""
    _, parts = msgspec.json.schema_components([shape], ref_template="#/$defs/{name}")
    top = dict(parts.pop(shape.__name__))
    return {**top, "$defs": parts} if parts else top


def parse_answer(text: str, shape: type[_Shape]) -> _Shape:
    """The JSON that `text` is, or holds: in a fenced block, or from its first { to its last }.

    What stands before `</think>` is a model's thinking and is not looked at.

    Raises:
        AnswerError: There is none, or it is not of `shape`.
    """
    said = text.rpartition("</think>")[2].strip()
    found = [said, *_FENCED.findall(said)[-1:]]
    start, end = said.find("{"), said.rfind("}")
    if 0 <= start < end:
        found.append(said[start : end + 1])
    problem: Exception | None = None
    for candidate in found:
        try:
            return msgspec.json.decode(candidate, type=shape)
        except msgspec.ValidationError as err:
            problem = err
        except (msgspec.DecodeError, UnicodeError, RecursionError) as err:
            problem = problem or err
    raise AnswerError(f"the answer is not the JSON that was asked for: {problem}") from problem
