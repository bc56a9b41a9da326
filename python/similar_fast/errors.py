"""Every exception of this package. A caller's mistake is a builtin (`ValueError`, `TypeError`)."""

from pathlib import Path

from similar_fast._core import QueueClosedError, QueueFullError, SearchError, SimilarFastError

__all__ = [
    "DataError",
    "EnvError",
    "InferenceError",
    "LlmError",
    "ModelError",
    "QueueClosedError",
    "QueueFullError",
    "ScorerError",
    "SearchError",
    "SimilarFastError",
]


class ModelError(SimilarFastError):
    """A model's folder, manifest or file does not fit."""


class InferenceError(ModelError):
    """An inference session could not be made, or failed while it ran."""


class ScorerError(SimilarFastError):
    """A scorer raised, or answered with the wrong number of scores or with a NaN."""


class EnvError(SimilarFastError):
    """An environment cannot do what was asked: unknown task, missing browser, a page that hangs."""


class LlmError(SimilarFastError):
    """A language model's server cannot be reached, refuses, or answers with something else.

    Attributes:
        status: The HTTP status that the server answered with, or None where it did not.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status

    @property
    def is_permanent(self) -> bool:
        """Whether every other request would fail as well: key, permission, address or model."""
        return self.status in {401, 403, 404}


class DataError(SimilarFastError):
    """A record is invalid.

    Attributes:
        path: The file, or None where the record did not come from one.
        line: The 1-based line in that file, or None.
    """

    def __init__(self, message: str, *, path: Path | None = None, line: int | None = None) -> None:
        place = "" if path is None else f"{path}:{line}: " if line is not None else f"{path}: "
        super().__init__(place + message)
        self.path = path
        self.line = line
