"""RewardModel on a CUDA device beside transformers in the same dtype on the same device.

    PYTHONPATH=export:tests:benches python benches/gpu/bench_cuda.py --size 2b [--json] [--out FILE]

Makes a random checkpoint of the real size in `--scratch` and exports it, both only where they are
not there yet. Then two processes, one after the other so that each has its memory to itself, score
the same states: 16 candidates of about 16 tokens each, a screenshot of 1280 x 720, which takes
1,196 tokens, and some 270 tokens of text. Printed are the parity of the scores, the latency of a
state that was never seen and of one that is known, states a second, and device memory; and the
machine and the command, for benches/RESULTS.md.

What is timed is from steps, with the screenshot as PNG bytes, to scores on the host, so the device
is done when the clock stops; torch is synchronised besides. The peer's prompts and pixels are made
within the time as well, and separately said.

`--size tiny --device cpu` runs the same code anywhere. Random weights show parity and speed, and
nothing about quality.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
from gpu.cuda_run import ENGINES, Plan, run_engine
from gpu.cuda_table import compared, table
from real_checkpoints import SIZES, write_real
from similar_fast_export.reward_model import ExportOptions, export_reward_model

TORCH_DTYPES = {"fp16": "float16", "fp32": "float32"}


def prepare(scratch: Path, size: str, dtype: str) -> tuple[Path, Path]:
    """(checkpoint, model), made where they are missing."""
    checkpoint, folder = scratch / f"checkpoint-{size}", scratch / f"model-{size}-{dtype}"
    if not (checkpoint / "model.safetensors.index.json").exists():
        write_real(checkpoint, SIZES[size])
    if not folder.exists():
        export_reward_model(checkpoint, folder, ExportOptions(random_heads=0, dtype=dtype))
    return checkpoint, folder


def run_apart(engine: str, plan: Plan, scratch: Path) -> dict[str, object]:
    """What `engine` found, in a process of its own."""
    out = scratch / f"found-{engine}.json"
    command = [sys.executable, __file__, "--engine", engine, "--plan", plan.to_json()]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([*command, "--out", str(out)], check=True, env=environment)  # noqa: S603  # ourselves
    found: dict[str, object] = json.loads(out.read_text("utf-8"))
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--size", choices=SIZES, default="2b")
    add("--dtype", choices=TORCH_DTYPES, default="fp16")
    add("--device", default="cuda", help="cuda, cuda:1 or cpu (default: cuda)")
    add("--scratch", type=Path, default=Path("target/gpu"), help="for checkpoint and export")
    add("--rounds", type=int, default=12, help="states that are timed, each cold and warm")
    add("--threads", type=int, default=4, help="threads that score at once for states a second")
    add("--json", action="store_true", help="print the record instead of the table")
    add("--out", type=Path, help="a file to write what is printed to as well")
    add("--engine", choices=ENGINES, help=argparse.SUPPRESS)
    add("--plan", help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.engine:
        found = run_engine(args.engine, Plan.of_json(args.plan))
        args.out.write_text(json.dumps(found), encoding="utf-8")
        return 0
    args.scratch.mkdir(parents=True, exist_ok=True)
    checkpoint, folder = prepare(args.scratch, args.size, args.dtype)
    is_tiny = args.size == "tiny"
    plan = Plan(
        checkpoint=str(checkpoint),
        folder=str(folder),
        dtype=TORCH_DTYPES[args.dtype],
        device=args.device,
        rounds=args.rounds,
        threads=args.threads,
        width=320 if is_tiny else 1280,
        height=180 if is_tiny else 720,
    )
    ours, peer = (run_apart(engine, plan, args.scratch) for engine in ENGINES)
    command = shlex.join(["python", "benches/gpu/bench_cuda.py", *(arguments or sys.argv[1:])])
    record = {"command": command, "size": args.size, **compared(plan, ours, peer)}
    text = json.dumps(record, indent=2) if args.json else table(record)
    print(text)
    if args.out:
        args.out.write_text(text + "\n", encoding="utf-8")
    parity = record["parity"]
    return int(not np.isfinite(parity["max_error_total"]) or not record["is_alike"])


if __name__ == "__main__":
    sys.exit(main())
