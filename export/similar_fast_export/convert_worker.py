"""Reads one pickle of tensors in a process of its own and prints them as safetensors.

`convert` starts this file; it needs nothing else of the package. Exit status 0: stdout holds the
tensors. 1: stdout says in words what was found instead. 3: stdout names a module that is missing.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["MISSING", "REFUSED", "main"]

REFUSED, MISSING = 1, 3


def main(arguments: Sequence[str]) -> int:
    """Prints the tensors of the file that `arguments` names, in float32."""
    (path,) = arguments
    try:
        import torch  # noqa: PLC0415  # its absence is an answer
        from safetensors.torch import save  # noqa: PLC0415  # as above
    except ModuleNotFoundError as err:
        return _answer(MISSING, str(err.name))
    try:
        record = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as err:  # noqa: BLE001  # whatever a strange file makes torch raise
        return _answer(REFUSED, _reason(err))
    odd = _first_odd(record)
    if odd:
        return _answer(REFUSED, odd)
    tensors = {
        name: tensor.detach().float().contiguous().clone() for name, tensor in record.items()
    }
    sys.stdout.buffer.write(save(tensors))
    return 0


def _answer(status: int, text: str) -> int:
    sys.stdout.buffer.write(text.encode("utf-8", "replace"))
    return status


def _reason(err: Exception) -> str:
    """Why torch refused, without its advice on how to read the file nonetheless."""
    found = re.search(r"GLOBAL (\S+)", str(err))
    if found:
        return f"a pickle that asks for {found[1]}, which is no tensor"
    return f"no file that torch reads as plain tensors ({type(err).__name__})"


def _first_odd(record: Any) -> str:  # noqa: ANN401  # a pickle holds anything
    """What is no plain table of real tensors; empty where all is well."""
    import torch  # noqa: PLC0415  # as above

    if not isinstance(record, Mapping):
        return f"a {type(record).__name__}; expected a table of tensors"
    for name, tensor in record.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            return f"{name!r}, a {type(tensor).__name__}; expected a name and a tensor"
        if not tensor.is_floating_point() or tensor.layout != torch.strided or tensor.is_meta:
            return f"{name!r}, a tensor of {tensor.dtype}; expected plain floating-point numbers"
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            return f"{name!r}, {tensor.numel()} numbers in a file of fewer; expected each stored"
    return ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
