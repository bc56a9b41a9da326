"""Signatures of the compiled module; the public wrappers hold the docstrings."""

__all__ = [
    "QueueClosedError",
    "QueueFullError",
    "SearchError",
    "SimilarFastError",
    "__version__",
]

__version__: str

class SimilarFastError(Exception): ...
class SearchError(SimilarFastError): ...
class QueueFullError(SimilarFastError): ...
class QueueClosedError(SimilarFastError): ...
