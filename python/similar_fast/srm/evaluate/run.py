"""`evaluate`: a scorer on labelled pairs, from the first step scored to the whole evaluation."""

from collections.abc import Sequence
from dataclasses import replace

from similar_fast.protocols import Scorer
from similar_fast.records import PairRecord
from similar_fast.srm.evaluate.baselines import fit_signs, signed
from similar_fast.srm.evaluate.counting import DEFAULT_COUNTING, Counting, evaluate_pair_scores
from similar_fast.srm.evaluate.evaluation import Evaluation
from similar_fast.srm.evaluate.plan import OpenScreenshot, plan_pairs
from similar_fast.srm.evaluate.position import probe_position
from similar_fast.srm.evaluate.scored import Report, score_plan

__all__ = ["evaluate"]


def evaluate(
    scorer: Scorer,
    pairs: Sequence[PairRecord],
    *,
    name: str = "",
    counting: Counting = DEFAULT_COUNTING,
    sign_pairs: Sequence[PairRecord] = (),
    batch_size: int = 64,
    num_probe: int = 256,
    open_screenshot: OpenScreenshot | None = None,
    report: Report = lambda _done, _total: None,
) -> Evaluation:
    """What `scorer` is worth on SRMEval's task: the better of two, under one type of judgement.

    Each distinct (instruction, history, observation, screenshot, action) is scored once. A pair's
    two values are the dimension of its type where the scorer has dimensions, else its total; the
    total for `total`; for a trajectory the mean over its steps of the plain sum of the five, each
    action with those before it as history. A pair that cannot be scored is invalid, with its
    reason, and fails no other.

    Args:
        scorer: What is evaluated.
        pairs: `[n]`, at least one.
        name: What the scorer is called; its class's name where it is empty.
        counting: How pairs are counted, and the seed of all draws.
        sign_pairs: Pairs of the train split, to fit the sign of each type's scores on; none leaves
            the scores as they are.
        batch_size: Steps in one call of the scorer, at least 1.
        num_probe: Pairs in the probe of positions; 0 makes none.
        open_screenshot: Returns the bytes of a screenshot by its name; None shows none.
        report: Told how many steps are scored, and of how many.

    Raises:
        ValueError: There is no pair, or an argument is out of its range.

    Example:
        >>> from similar_fast.baselines import LexicalScorer
        >>> from similar_fast.dimensions import Dimension
        >>> rows = [
        ...     PairRecord(environment="shop", task=task, type=Dimension.HELPFULNESS,
        ...                instruction="Buy a ticket", chosen=('click link "ticket"',),
        ...                rejected=('click link "Help"',), step=1)
        ...     for task in ("1", "2")
        ... ]
        >>> evaluate(LexicalScorer(), rows).overall.macro.value
        1.0

    Source: Miao et al. 2025, section 5 (SRMEval).
    """
    if not pairs:
        raise ValueError("there is no pair to evaluate; expected at least one")
    plan = plan_pairs(pairs, seed=counting.seed, open_screenshot=open_screenshot)
    scores = score_plan(scorer, plan, batch_size=batch_size, report=report)
    signs = {}
    if sign_pairs:
        train = plan_pairs(sign_pairs, seed=counting.seed, open_screenshot=open_screenshot)
        signs = fit_signs(sign_pairs, score_plan(scorer, train, batch_size=batch_size))
        scores = signed(pairs, scores, signs)
    found = evaluate_pair_scores(
        pairs, scores, name=name or type(scorer).__name__, counting=counting
    )
    position = None
    if num_probe:
        position = probe_position(
            scorer,
            pairs,
            num_pairs=num_probe,
            batch_size=max(2, batch_size),
            seed=counting.seed,
            open_screenshot=open_screenshot,
        )
    return replace(found, signs=signs, position=position)
