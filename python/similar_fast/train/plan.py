"""What a run is made of, written before it begins: a resumed run must be of the same."""

import hashlib
import json
from pathlib import Path
from typing import Any

from similar_fast.errors import DataError
from similar_fast.files.whole_file import write_whole
from similar_fast.train.data import TrainingSet
from similar_fast.train.settings import TrainSettings

__all__ = ["PLAN_NAME", "check_out", "keep_plan"]

PLAN_NAME = "plan.json"
"""The plan's file in a run's folder."""

_LOCK_NAME = "lock"
_READ = (
    "*.safetensors",
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.*",
    "*preprocessor_config.json",
)
"""Files of a checkpoint that a run depends on."""


def check_out(out: Path, *, checkpoint: Path, resume: bool) -> None:
    """Refuses a folder that holds something else, before anything long begins.

    Args:
        out: The folder.
        checkpoint: The backbone's folder, which a run must not write into.
        resume: Whether a run may be there.

    Raises:
        DataError: `resume` is set, and the folder holds no run.
        FileExistsError: `resume` is not set, and the folder is not empty.
        NotADirectoryError: It is a file.
        ValueError: One of the folders lies in the other.
    """
    places = out.resolve(), checkpoint.resolve()
    if places[0].is_relative_to(places[1]) or places[1].is_relative_to(places[0]):
        raise ValueError(
            f"one of {out} and the backbone {checkpoint} lies in the other; expected two folders "
            "apart"
        )
    if not out.exists():
        return
    found = {path.name for path in out.iterdir()} - {_LOCK_NAME}
    if found and not resume:
        raise FileExistsError(f"{out} is not empty; expected a new folder, or a run to resume")
    if found and PLAN_NAME not in found:
        raise DataError(f"{out} holds no run to resume; expected {PLAN_NAME} in it")


def keep_plan(out: Path, *, settings: TrainSettings, rows: TrainingSet, checkpoint: Path) -> None:
    """Writes the plan, or refuses to go on with a run of other settings, data or weights.

    Raises:
        DataError: `out` has another plan, or a broken one.
        OSError: A file cannot be read or written.
    """
    about = settings.to_dict()
    # What was begun on one card may go on elsewhere.
    del about["device"]
    plan = {
        "settings": about,
        "data": rows.fingerprint(),
        "checkpoint": _fingerprint(checkpoint),
    }
    path = out / PLAN_NAME
    if not path.exists():
        write_whole(path, (json.dumps(plan, indent=2, sort_keys=True) + "\n").encode())
        return
    try:
        found = json.loads(path.read_bytes())
    except ValueError as err:
        raise DataError(f"the plan cannot be read: {err}", path=path) from err
    if found != plan:
        raise DataError(
            f"the run has other {', '.join(_differences(found, plan))}; expected the same, or "
            "another folder",
            path=path,
        )


def _differences(found: Any, plan: Any) -> list[str]:  # noqa: ANN401  # whatever JSON can hold
    """Names of what differs, the settings one by one."""
    if not isinstance(found, dict):
        return sorted(plan)
    changed = sorted(key for key in plan if found.get(key) != plan[key])
    if "settings" in changed:
        changed.remove("settings")
        inner = _differences(found.get("settings"), plan["settings"])
        changed += [f"settings ({', '.join(inner)})"]
    return changed


def _fingerprint(checkpoint: Path) -> str:
    """Of the contents of what is read."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted({path for pattern in _READ for path in checkpoint.glob(pattern)}):
        with path.open("rb") as stream:
            part = hashlib.file_digest(stream, "blake2b").hexdigest()
        digest.update(f"{path.name} {part}\n".encode())
    return digest.hexdigest()
