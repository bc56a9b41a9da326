"""Many scores through one `BatchingScorer` from many threads: memory, order, failures, throughput.

Sixteen threads ask for one step at a time of a tiny model with vision, one step in a hundred
broken: its screenshot is no picture, or its action too long. Every answer must be the step's own
score within 1e-5, and every broken step must fail alone with `DataError`. The resident memory is
read when a fifth of all answers are there and at the end; torch, which made the model, is in it.

    PYTHONPATH=export:tests python benches/bench_reward_threads.py [--scores 10000] [--json F]
"""

import argparse
import gc
import io
import json
import tempfile
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import PIL.Image
import psutil
from checkpoints import write_checkpoint
from numpy.typing import NDArray
from reward_models import export_checkpoint
from similar_fast import BatchingScorer, Step
from similar_fast.errors import DataError, ScorerError
from similar_fast.reward.model import RewardModel

FAMILY = "qwen2_vl"
NUM_SCORES, NUM_THREADS = 10_000, 16
NUM_STATES, NUM_ACTIONS = 40, 25
BROKEN_EVERY = 100
TOLERANCE = 1e-5
STATE_CACHE_BYTES = 1 << 20  # less than all states take, so that some give way all the time
GROWTH_MIB = 8.0
MIB = 2**20


@dataclass
class Answers:
    """What came back for each of n requests.

    Attributes:
        totals: `[n]` float32, NaN where nothing or an error came back.
        counts: `[n]` how often something came back.
        errors: The error by the request's number.
    """

    totals: NDArray[np.float32]
    counts: NDArray[np.int64]
    errors: dict[int, Exception] = field(default_factory=dict)


@dataclass(frozen=True)
class Figures:
    """Of one run.

    Attributes:
        scores: Requests.
        broken: Those of them that had to fail.
        per_second: Answers a second.
        early_mib: Resident memory when a fifth of the answers were there.
        late_mib: Resident memory at the end.
        mean_batch: Steps in a batch.
    """

    scores: int
    broken: int
    per_second: float
    early_mib: float
    late_mib: float
    mean_batch: float


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (56, 84, 3), dtype=np.uint8)
    stream = io.BytesIO()
    PIL.Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def whole_steps() -> list[Step]:
    """Distinct steps of `NUM_STATES` states, every second one with a picture."""
    steps = []
    for state in range(NUM_STATES):
        data = picture(state)
        shot = (lambda data=data: data) if state % 2 else None
        history = tuple(f"click link {i}" for i in range(state % 4))
        first = Step(f"Book flight {state}", history, "", f"button 'Log in' {state}", shot)
        steps += [replace(first, action=f"click button {i}") for i in range(NUM_ACTIONS)]
    return steps


def broken_step(step: Step, number: int) -> Step:
    """`step` with a screenshot that is no picture, or with an action beyond every limit."""
    if number % 2:
        return replace(step, action="click " * 100_000)
    return replace(step, screenshot=lambda: b"no picture")


def ask(scorer: BatchingScorer, requests: list[Step], num_threads: int) -> tuple[Answers, float]:
    """Asks for every request from `num_threads` threads; also the early memory in MiB."""
    answers = Answers(np.full(len(requests), np.nan, np.float32), np.zeros(len(requests), np.int64))
    process, at_fifth = psutil.Process(), len(requests) // 5
    early_mib: list[float] = []

    def work(first: int) -> None:
        for number in range(first, len(requests), num_threads):
            try:
                answers.totals[number] = scorer.score([requests[number]]).total[0]
            except Exception as error:  # noqa: BLE001  # whatever it is, it is looked at below
                answers.errors[number] = error
            answers.counts[number] += 1
            if first == 0 and number >= at_fifth and not early_mib:
                early_mib.append(process.memory_info().rss / MIB)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(num_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers, early_mib[0]


def check(answers: Answers, expected: NDArray[np.float32], is_broken: NDArray[np.bool_]) -> None:
    """Nothing is lost, doubled or mixed up, and what is broken fails alone."""
    assert (answers.counts == 1).all(), "a request has no answer, or more than one"
    assert sorted(answers.errors) == np.flatnonzero(is_broken).tolist()
    for number, error in answers.errors.items():
        assert isinstance(error, ScorerError), (number, error)
        assert isinstance(error.__cause__, DataError), (number, error.__cause__)
    difference = np.abs(answers.totals - expected)[~is_broken]
    assert difference.max() < TOLERANCE, difference.max()


def run(folder: Path, *, num_scores: int, num_threads: int = NUM_THREADS) -> Figures:
    """One run on a fresh model in `folder`, checked."""
    write_checkpoint(folder / "checkpoint", FAMILY)
    model = RewardModel(
        export_checkpoint(folder / "checkpoint", folder / "model"),
        providers="cpu",
        threads=1,
        state_cache_bytes=STATE_CACHE_BYTES,
    )
    steps = whole_steps()
    scores = model.score(steps).total
    assert np.ptp(scores) > 100 * TOLERANCE, "the scores are too alike to tell them apart"
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(steps), num_scores)
    is_broken = np.arange(num_scores) % BROKEN_EVERY == BROKEN_EVERY // 2
    requests = [
        broken_step(steps[i], number // BROKEN_EVERY) if is_broken[number] else steps[i]
        for number, i in enumerate(drawn.tolist())
    ]
    start = time.perf_counter()
    with BatchingScorer(model) as scorer:
        answers, early = ask(scorer, requests, num_threads)
        seconds = time.perf_counter() - start
        stats = scorer.stats
    gc.collect()
    late = psutil.Process().memory_info().rss / MIB
    check(answers, scores[drawn], is_broken)
    assert model.stats.states.evictions, "every state fitted into the cache"
    return Figures(
        num_scores,
        int(is_broken.sum()),
        num_scores / seconds,
        early,
        late,
        stats.rows / stats.batches,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scores", type=int, default=NUM_SCORES)
    parser.add_argument("--threads", type=int, default=NUM_THREADS)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        figures = run(Path(scratch), num_scores=options.scores, num_threads=options.threads)
    growth = figures.late_mib - figures.early_mib
    print(f"{figures.scores} scores of a tiny {FAMILY} from {options.threads} threads")
    print(f"{'right within ' + format(TOLERANCE, 'g'):36}{figures.scores - figures.broken:10d}")
    print(f"{'broken, failed alone':36}{figures.broken:10d}")
    print(f"{'scores a second':36}{figures.per_second:10.0f}")
    print(f"{'steps in a batch':36}{figures.mean_batch:10.1f}")
    print(f"{'MiB after a fifth':36}{figures.early_mib:10.1f}")
    print(f"{'MiB at the end':36}{figures.late_mib:10.1f}")
    if options.json:
        options.json.write_text(json.dumps(vars(figures), indent=1) + "\n")
    assert growth < GROWTH_MIB, f"memory grew by {growth:.1f} MiB; expected less than {GROWTH_MIB}"


if __name__ == "__main__":
    main()
