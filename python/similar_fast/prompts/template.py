"""The pieces of a prompt, filled in and read as tokens."""

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from similar_fast.errors import ModelError
from similar_fast.models.manifest import Piece

__all__ = ["Template", "Written"]

_Span = list[int] | tuple[tuple[str, str], ...] | int
"""Fixed ids; a text in parts, each a field (its name) or literal; the token of a picture."""


class Written(NamedTuple):
    """Pieces that were filled in.

    Attributes:
        ids: Token ids.
        image_start: Index of the first image token in `ids`; -1 where there is none.
    """

    ids: list[int]
    image_start: int


class Template:
    """Pieces whose fields can be filled in many times.

    Control tokens are borders: what stands between two of them, literal text and fields alike, is
    ONE text to the tokenizer, since its merges reach over the seams. A text without a field is read
    once, when the template is made.

    Attributes:
        fields: The names of the fields.
    """

    def __init__(
        self,
        pieces: Sequence[Piece],
        *,
        encode: Callable[[str], list[int]],
        image_token: int | None = None,
    ) -> None:
        """Reads the texts that no field is part of.

        Args:
            pieces: The pieces, in order.
            encode: A text's token ids; control tokens in it are ordinary text.
            image_token: What stands for a picture; needed where a piece is the field `image`.

        Raises:
            ModelError: The image token is needed and missing.
        """
        self.fields = frozenset(piece.field for piece in pieces if piece.field is not None)
        self._encode = encode
        self._image_token = image_token
        self._with_image = self._spans(pieces)
        self._without_image = self._spans([piece for piece in pieces if not piece.needs_image])

    def write(self, texts: Mapping[str, str], *, num_image_tokens: int = 0) -> Written:
        """The token ids of the pieces, filled in.

        Args:
            texts: The text of each field but `image`.
            num_image_tokens: How often the image token stands in the field `image`; 0 leaves out
                all that a picture needs.
        """
        ids: list[int] = []
        image_start = -1
        for span in self._with_image if num_image_tokens else self._without_image:
            if isinstance(span, int):
                image_start = len(ids)
                ids += [span] * num_image_tokens
            elif isinstance(span, list):
                ids += span
            else:
                ids += self._encode("".join(texts[name] if name else text for name, text in span))
        return Written(ids, image_start)

    def _spans(self, pieces: Sequence[Piece]) -> list[_Span]:
        """What `pieces` become, texts that stand side by side in one span."""
        spans: list[_Span] = []
        for is_text, group in groupby(pieces, key=_is_text):
            if not is_text:
                spans += [self._control(piece) for piece in group]
                continue
            run = tuple((piece.field or "", piece.text or "") for piece in group)
            has_field = any(name for name, _ in run)
            spans.append(run if has_field else self._encode("".join(text for _, text in run)))
        return spans

    def _control(self, piece: Piece) -> _Span:
        if piece.token is not None:
            return [piece.token]
        if self._image_token is None:
            raise ModelError("the prompt has a place for a picture; expected an image token for it")
        return self._image_token


def _is_text(piece: Piece) -> bool:
    return piece.token is None and piece.field != "image"
