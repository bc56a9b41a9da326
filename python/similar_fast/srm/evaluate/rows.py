"""One pair's line in a file of rows."""

from math import isfinite
from typing import Any

from similar_fast.dimensions import DIMENSION_INFO
from similar_fast.records import PairRecord
from similar_fast.srm.evaluate.evaluation import Evaluation, place_of

__all__ = ["pair_row"]


def pair_row(index: int, pair: PairRecord, evaluation: Evaluation) -> dict[str, Any]:
    """What became of the pair at place `index` of the data, as what JSON holds.

    Its `scores` are the two scores, which of `correct`, `tie`, `wrong` and `invalid` the pair is,
    and for an invalid one the reason.
    """
    return {
        "index": index,
        "type": DIMENSION_INFO[pair.type].symbol,
        "place": place_of(pair),
        "task": pair.task,
        "step": pair.step,
        "split": pair.split,
        "chosen_trajectory": pair.chosen_trajectory,
        "rejected_trajectory": pair.rejected_trajectory,
        "scores": _scores(index, evaluation),
    }


def _scores(index: int, evaluation: Evaluation) -> dict[str, Any]:
    scores = evaluation.scores
    chosen, rejected = float(scores.chosen[index]), float(scores.rejected[index])
    found: dict[str, Any] = {
        "chosen": chosen if isfinite(chosen) else None,
        "rejected": rejected if isfinite(rejected) else None,
    }
    if not (isfinite(chosen) and isfinite(rejected)):
        return {**found, "outcome": "invalid", "reason": scores.errors.get(index, "not finite")}
    outcome = "correct" if chosen > rejected else "wrong" if chosen < rejected else "tie"
    return {**found, "outcome": outcome}
