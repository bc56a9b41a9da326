"""Rows of a file of steps, good and bad, and what stops their scoring."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from similar_fast_export.verify import random_states

GOOD = {"instruction": "Buy a ticket", "action": 'click button "Buy"'}
BAD = {
    "not json": "not json",
    "no object": "[1]",
    "no UTF-8": b'{"instruction": "\xff", "action": "x"}',
    "half a row": '{"instruction": "Buy", "action": "cl',
    "no instruction": '{"action": "x"}',
    "an action that is no string": '{"instruction": "Buy", "action": 3}',
    "a history that is no list": '{"instruction": "Buy", "action": "x", "history": "y"}',
    "both": '{"instruction": "Buy", "action": "x", "actions": ["y"]}',
    "neither": '{"instruction": "Buy"}',
    "no candidates": '{"instruction": "Buy", "actions": []}',
    "nothing but brackets": "[" * 5000,
}


def write_lines(folder: Path, rows: Sequence[object]) -> Path:
    """Writes lines, of records, texts or bytes, and returns the file."""
    path = folder / "in.jsonl"
    path.write_bytes(b"".join(as_bytes(row) + b"\n" for row in rows))
    return path


def as_bytes(row: object) -> bytes:
    if isinstance(row, bytes):
        return row
    return (row if isinstance(row, str) else json.dumps(row)).encode()


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def random_rows(seed: int, *, most: int = 20) -> list[dict[str, Any]]:
    return [
        {
            "id": i,
            "instruction": steps[0].instruction,
            "history": steps[0].history,
            "observation": steps[0].observation,
            "actions": [step.action for step in steps],
        }
        for i, steps in enumerate(random_states(seed, has_vision=False)[:most])
        if steps
    ]


def interrupt_after(batches: int) -> Callable[[int], None]:
    seen: list[int] = []

    def report(num_bytes: int) -> None:
        seen.append(num_bytes)
        if len(seen) == batches:
            raise KeyboardInterrupt

    return report
