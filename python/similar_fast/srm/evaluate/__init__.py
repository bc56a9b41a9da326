"""SRMEval: what a scorer is worth on labelled pairs, by type of judgement."""

from similar_fast.srm.evaluate.counting import Counting, compare_evaluations, evaluate_scores
from similar_fast.srm.evaluate.evaluation import (
    CHANCE,
    Calibration,
    Comparison,
    Cost,
    Evaluation,
    Miss,
    PairScores,
    PositionProbe,
)
from similar_fast.srm.evaluate.run import evaluate

__all__ = [
    "CHANCE",
    "Calibration",
    "Comparison",
    "Cost",
    "Counting",
    "Evaluation",
    "Miss",
    "PairScores",
    "PositionProbe",
    "compare_evaluations",
    "evaluate",
    "evaluate_scores",
]
