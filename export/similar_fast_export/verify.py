"""What an exported folder is held against: transformers, and for quantised builds float32."""

import io
import json
from collections.abc import Hashable, Iterator, Sequence
from functools import partial
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from similar_fast.errors import ModelError
from similar_fast.models.heads import HEADS_WEIGHTS_NAME, read_heads
from similar_fast.models.manifest import read_manifest
from similar_fast.reward.lexical_prior import add_lexical_prior
from similar_fast.reward.model import RewardModel
from similar_fast.srm.lines import BadRow, read_lines
from similar_fast.steps_file import parse_row
from similar_fast.types import Scores, Step

from similar_fast_export.checkpoint import read_json
from similar_fast_export.embedding import MIN_RANK_AGREEMENT
from similar_fast_export.reference import Reference

__all__ = [
    "MAX_ERROR",
    "MAX_STATES",
    "check_ranks",
    "check_scores",
    "pair_agreement",
    "random_states",
    "read_states",
]

MAX_ERROR = 1e-4
"""Largest difference from transformers in float32, in any dimension, weight or total: of 1, or of
the largest value of that dimension where it is above 1, for float32 keeps digits, not decimals."""

MAX_STATES = 500
"""States that a quantised build is compared on at most, unless more are asked for."""

_SIZES = ((56, 56), (320, 180), (200, 333), (28, 140))
_TEXT = (
    "open the settings page and click buy a ticket from Oslo to Lisbon button link textbox "
    "checkbox “naïve” 12/04/2026 scroll down search for type select confirm 日本語 42 $98 🙂"
)
_WORDS = _TEXT.split()

_Floats = NDArray[np.float32]


def check_ranks(folder: Path, whole: Path, states: Sequence[Sequence[Step]]) -> dict[str, float]:
    """How often the model in `folder` orders two actions of a state as the one in `whole` does.

    Args:
        folder: The quantised build.
        whole: The same in float32.
        states: The candidates of each state, see `read_states`.

    Raises:
        ModelError: Less than `MIN_RANK_AGREEMENT` of the pairs are ordered alike.
    """
    reference, other = (_scores_of(path, states) for path in (whole, folder))
    agreement = pair_agreement(reference, other)
    if agreement < MIN_RANK_AGREEMENT:
        raise ModelError(
            f"the quantised model orders {agreement:.4f} of the pairs as float32 does; "
            f"expected at least {MIN_RANK_AGREEMENT}"
        )
    error = max(
        float(np.abs(a.total - b.total).max()) for a, b in zip(reference, other, strict=True)
    )
    return {"rank_agreement": round(agreement, 5), "max_score_error": round(error, 7)}


def check_scores(folder: Path, checkpoint: Path, *, dtype: str, seed: int) -> dict[str, float]:
    """The largest differences from transformers in float32, over random states.

    Args:
        folder: The exported model.
        checkpoint: Where it came from.
        dtype: How its weights are stored: in float32 the differences are held against
            `MAX_ERROR`, otherwise the order of the actions against `MIN_RANK_AGREEMENT`.
        seed: Of the states.

    Raises:
        ModelError: The differences are too large, or the checkpoint is of another family.
    """
    family = read_json(checkpoint / "config.json").get("model_type")
    manifest = read_manifest(folder, verify=False)
    if family != manifest.family:
        raise ModelError(
            f"{checkpoint} is of the family {family!r}; {folder} of {manifest.family!r}"
        )
    from similar_fast.train.heads import HeadsModule  # noqa: PLC0415  # an extra

    model = RewardModel(folder, providers="cpu", verify=False)
    reference = Reference(checkpoint, manifest)
    heads = HeadsModule(read_heads(folder / HEADS_WEIGHTS_NAME))
    has_vision = manifest.reward is not None and bool(
        manifest.reward.patches or manifest.reward.tiles
    )
    states = random_states(seed, has_vision=has_vision)
    # What is cut to fit is not what transformers would read.
    states = [steps for steps in states if not model.score_rows(steps).num_cut.any()]
    if not states:
        raise ModelError(f"no test prompt fits {model.manifest.max_positions} positions")
    ours = [model.score(steps) for steps in states]
    theirs = [
        add_lexical_prior(heads.scores(*reference.features(steps)), steps, heads.lexical_prior)
        for steps in states
    ]
    checks = {}
    for name in ("dims", "weights", "total"):
        error, share = _difference(*(_column(scores, name) for scores in (ours, theirs)))
        checks[f"transformers_max_error_{name}"] = error
        if dtype == "fp32" and not share <= MAX_ERROR:
            raise ModelError(
                f"transformers_max_error_{name} is {error:.2e}, {share:.2e} by the size of the "
                f"scores; expected at most {MAX_ERROR}"
            )
    agreement = checks["transformers_rank_agreement"] = pair_agreement(theirs, ours)
    if dtype != "fp32" and agreement < MIN_RANK_AGREEMENT:
        raise ModelError(
            f"the model orders {agreement:.4f} of the pairs as transformers does; expected at "
            f"least {MIN_RANK_AGREEMENT}"
        )
    return {name: float(f"{value:.4g}") for name, value in checks.items()}


def read_states(
    inputs: Path | None, *, has_vision: bool, max_states: int = MAX_STATES
) -> list[list[Step]]:
    """The candidates of each state that a quantised build is compared on, two or more.

    Args:
        inputs: JSON lines, see `similar_fast.steps_file`, those of one state together or not, also
            packed by gzip or xz; collected steps (`similar_fast.records`) are such lines. None for
            the ones of this package.
        has_vision: Whether half of the package's own have a screenshot.
        max_states: Of a file with more, so many are taken, evenly over the file; at least 1.

    Raises:
        DataError: A row is broken.
        ModelError: No state has two actions, so that there is no order to compare.
        OSError: The file cannot be read.
    """
    if inputs is None:
        return _own_states(has_vision=has_vision)
    states: dict[Hashable, list[Step]] = {}
    for step in _steps(inputs):
        # Screenshots of one row, or of one file, are one state's.
        shot = step.screenshot
        picture = (shot.func, shot.args) if isinstance(shot, partial) else shot
        key = (step.instruction, step.history, step.observation, picture)
        states.setdefault(key, []).append(step)
    found = [steps for steps in states.values() if len(steps) > 1]
    if not found:
        raise ModelError(f"{inputs} holds no state with two actions; expected at least one")
    if len(found) <= max_states:
        return found
    return [found[i * len(found) // max_states] for i in range(max_states)]


def pair_agreement(reference: Sequence[Scores], other: Sequence[Scores]) -> float:
    """Share of the pairs of actions of one state that both order alike; in [0, 1], 1 for no pair.

    Args:
        reference: Scores of the candidates of each state.
        other: Scores of the same.
    """
    alike = total = 0
    for a, b in zip(reference, other, strict=True):
        left, right = np.triu_indices(len(a), 1)
        order = np.sign(a.total[left] - a.total[right])
        alike += int((order == np.sign(b.total[left] - b.total[right])).sum())
        total += len(left)
    return alike / total if total else 1.0


def random_states(seed: int, *, has_vision: bool, num_states: int = 6) -> list[list[Step]]:
    """States of four to six candidates, some with a screenshot; a seed's are always the same."""
    rng = np.random.default_rng(seed)

    def words(low: int, high: int) -> str:
        return " ".join(rng.choice(_WORDS, int(rng.integers(low, high))))

    states = []
    for i in range(num_states):
        size = _SIZES[i % len(_SIZES)]
        shot = partial(_picture, size, int(rng.integers(2**31))) if has_vision and i % 3 else None
        history = tuple(words(2, 6) for _ in range(i % 3))
        base = Step(words(4, 12), history, "", words(0, 30), shot)
        states.append(
            [
                Step(base.instruction, history, words(1, 9), base.observation, shot)
                for _ in range(4 + i % 3)
            ]
        )
    return states


def _column(scores: Sequence[Scores], name: str) -> _Floats:
    return np.concatenate([getattr(each, name) for each in scores])


def _difference(ours: _Floats, theirs: _Floats) -> tuple[float, float]:
    """The largest difference, and the largest by the size of what it differs from, at least 1.

    NaN where something is NaN or infinite.
    """
    with np.errstate(invalid="ignore"):
        error = np.abs(ours - theirs)
        share = error / np.maximum(np.abs(theirs).max(axis=0), 1)
    return float(error.max()), float(share.max())


def _steps(path: Path) -> Iterator[Step]:
    """Every step of the file, row by row; blank lines are left out."""
    for row in read_lines(path):
        if isinstance(row, BadRow):
            raise row.error
        number, text = row
        if text.strip():
            yield from parse_row(text, path=path, line=number).steps(path.parent)


def _picture(size: tuple[int, int], seed: int) -> bytes:
    """A PNG of colour gradients and noise."""
    from PIL import Image  # noqa: PLC0415  # only where pictures are drawn

    width, height = size
    rng = np.random.default_rng(seed)
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    pixels = np.stack([x, y, rng.integers(0, 256, (height, width))], -1).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def _scores_of(folder: Path, states: Sequence[Sequence[Step]]) -> list[Scores]:
    """The scores of the model in `folder`, which is closed again: two need twice the memory."""
    model = RewardModel(folder, providers="cpu", verify=False)
    return [model.score(steps) for steps in states]


def _own_states(*, has_vision: bool) -> list[list[Step]]:
    text = (resources.files("similar_fast_export") / "texts.jsonl").read_text("utf-8")
    states = []
    for i, line in enumerate(text.splitlines()):
        record = json.loads(line)
        shot = partial(_picture, _SIZES[i % len(_SIZES)], i) if has_vision and i % 2 else None
        steps = [Step(record["instruction"], (), x, screenshot=shot) for x in record["actions"]]
        states.append(steps)
    return states
