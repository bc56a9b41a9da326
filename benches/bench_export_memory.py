"""Memory of an export: a checkpoint of the real 2B size, and the peak of the process that reads it.

    PYTHONPATH=export:tests python benches/bench_export_memory.py SCRATCH [--dtypes fp16,fp32,int4]

Writes a random checkpoint into SCRATCH (4.4 GB for 2b; the exports take as much again and more),
runs `similar-fast-export` on it in a process of its own for each dtype, and then scores two actions
with the first model that was made. Fails if the peak resident memory of an fp16 or fp32 export is
above 1.3 times the checkpoint. int4 and int8 are compared with a float32 build before they are
accepted, and that build has to be run: their peak is that of running the model in float32, and
`--dtypes int4` wants some 10 GB of disk and some 20 GB of memory for 2b.

Every peak is `ru_maxrss` of the child, with nothing subtracted; pages of mapped files are in it.
"""

import argparse
import io
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import PIL.Image
from real_checkpoints import SIZES, write_real
from similar_fast.reward.model import RewardModel
from similar_fast.types import Step

MAX_RATIO = 1.3
STREAMED = {"fp16", "fp32"}
RSS_UNIT = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True, slots=True)
class Exported:
    """What one export took.

    Attributes:
        dtype: Of the weights.
        seconds: Wall time.
        peak_bytes: Greatest resident memory of the process.
        ratio: `peak_bytes` over the bytes of the checkpoint's tensors.
        files: Bytes by name; none where the build was refused.
        refusal: Why it was refused; empty otherwise. Random weights keep no order in 4 bits.
    """

    dtype: str
    seconds: float
    peak_bytes: int
    ratio: float
    files: dict[str, int]
    refusal: str


@dataclass(frozen=True, slots=True)
class Scored:
    """What scoring two actions with a fresh model took; `peak_bytes` is of that process."""

    open_seconds: float
    cold_seconds: float
    warm_seconds: float
    peak_bytes: int
    totals: list[float]


def export(checkpoint: Path, out: Path, dtype: str, checkpoint_bytes: int) -> Exported:
    command = [sys.executable, "-m", "similar_fast_export.cli", str(checkpoint), str(out)]
    options = ["--dtype", dtype, "--random-heads", "0"]
    # RUSAGE_CHILDREN keeps the greatest of all children, so each export has a parent of its own.
    start = time.perf_counter()
    peak, refusal = _in_process(_peak_of, [*command, *options])
    assert not refusal or dtype not in STREAMED, refusal
    return Exported(
        dtype=dtype,
        seconds=time.perf_counter() - start,
        peak_bytes=peak,
        ratio=peak / checkpoint_bytes,
        files={path.name: path.stat().st_size for path in sorted(out.glob("*"))},
        refusal=refusal,
    )


def score_twice(folder: Path) -> Scored:
    """Two actions of a state with a screenshot of 320 x 180, cold and again."""
    step = Step("book a flight to Rome", (), "click button", "a page of flights", screenshot)
    steps = [step, Step(step.instruction, (), "scroll down", step.observation, screenshot)]
    times = [time.perf_counter()]
    model = RewardModel(folder, providers="cpu")
    times.append(time.perf_counter())
    totals = model.score(steps).total
    times.append(time.perf_counter())
    again = model.score(steps).total
    times.append(time.perf_counter())
    assert np.isfinite(totals).all()
    assert np.array_equal(totals, again)
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT
    opening, cold, warm = np.diff(times).tolist()
    return Scored(opening, cold, warm, usage, totals.tolist())


def screenshot() -> bytes:
    x, y = np.meshgrid(np.linspace(0, 255, 320), np.linspace(0, 255, 180))
    stream = io.BytesIO()
    pixels = np.stack([x, y, (x + y) / 2], -1).astype(np.uint8)
    PIL.Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def _peak_of(command: list[str]) -> tuple[int, str]:
    """The command's peak in bytes, and its last word where it refused."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(  # noqa: S603  # our own command
        command, check=False, capture_output=True, text=True, env=environment
    )
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * RSS_UNIT
    return peak, done.stderr.strip().rpartition("\n")[2] if done.returncode else ""


def _in_process(function, argument):  # noqa: ANN001, ANN202  # whatever the function takes and gives
    """`function(argument)` in a fresh process, whose memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, (argument,))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("scratch", type=Path)
    add("--size", choices=SIZES, default="2b")
    add("--dtypes", default="fp16", help="one or several, commas between")
    add("--no-score", action="store_true", help="skip the two actions of the first one accepted")
    add("--json", action="store_true")
    args = parser.parse_args()
    say = (lambda _: None) if args.json else partial(print, flush=True)
    checkpoint = args.scratch / f"checkpoint-{args.size}"
    checkpoint_bytes = write_real(checkpoint, SIZES[args.size])
    say(f"checkpoint: {checkpoint_bytes / 1e9:.2f} GB")
    exports = []
    for dtype in args.dtypes.split(","):
        folder = folder_of(args.scratch, args.size, dtype)
        exports.append(export(checkpoint, folder, dtype, checkpoint_bytes))
        say(exported_in_words(exports[-1]))
    accepted = [one.dtype for one in exports if not one.refusal]
    scored = None
    if accepted and not args.no_score:
        scored = _in_process(score_twice, folder_of(args.scratch, args.size, accepted[0]))
        say(f"{accepted[0]} on the CPU: {scored_in_words(scored)}")
    if args.json:
        record = {
            "checkpoint_bytes": checkpoint_bytes,
            "exports": [asdict(one) for one in exports],
            "scored": asdict(scored) if scored else None,
        }
        print(json.dumps(record, indent=2))
    return int(any(one.dtype in STREAMED and one.ratio > MAX_RATIO for one in exports))


def folder_of(scratch: Path, size: str, dtype: str) -> Path:
    return scratch / f"model-{size}-{dtype}"


def exported_in_words(one: Exported) -> str:
    limit = f" (at most {MAX_RATIO})" if one.dtype in STREAMED else ""
    peak = f"peak {one.peak_bytes / 1e9:.2f} GB, {one.ratio:.2f} of the checkpoint{limit}"
    lines = [
        f"{one.dtype}: {peak}, {one.seconds:.0f} s",
        *(f"  {name}: {count / 1e6:.1f} MB" for name, count in one.files.items()),
    ]
    if one.refusal:
        lines.append(f"  refused: {one.refusal}")
    return "\n".join(lines)


def scored_in_words(scored: Scored) -> str:
    return (
        f"opened in {scored.open_seconds:.1f} s, two actions cold in {scored.cold_seconds:.1f} s, "
        f"again in {scored.warm_seconds:.2f} s, peak {scored.peak_bytes / 1e9:.2f} GB, totals "
        f"{scored.totals}"
    )


if __name__ == "__main__":
    sys.exit(main())
