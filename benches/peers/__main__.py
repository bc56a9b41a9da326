"""Times our tree search beside those of other packages, in one run, on one core.

    make bench-peers
    python benches/peers [--branching 16] [--only mctx] [--json]

Each search runs in a process of its own (`worker.py`, and `peer_rate` for Rust), pinned to one
core, one thread; ours come first and again last. The work is in `work.py`; what a peer does
differently is said at the top of its adapter. Rates are simulations a CPU second: medians, with
the range of all timings. Nothing is random but what an adapter seeds.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from arms import OURS, PEERS, Arm
from report import Measured, table

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "JAX_PLATFORMS": "cpu",
    "PYTHONHASHSEED": "0",
}
TIMEOUT_S = 600


def command(arm: Arm, args: argparse.Namespace) -> list[str]:
    """What times one arm."""
    if arm.module is None:
        numbers = [arm.trees, args.branching, arm.num_simulations, args.repeats]
        return [args.rust, *map(str, numbers)]
    python = sys.executable if arm.module == "ours_python" else args.peers_python
    sizes = {
        "--trees": arm.trees,
        "--branching": args.branching,
        "--simulations": arm.num_simulations,
        "--repeats": args.repeats,
    }
    options = [str(word) for option in sizes.items() for word in option]
    return [python, str(HERE / "worker.py"), arm.module, "--searcher", arm.searcher, *options]


def time_arm(arm: Arm, args: argparse.Namespace) -> tuple[Measured, dict[str, str]]:
    """One arm's timings, and the versions that were timed."""
    try:
        done = subprocess.run(  # noqa: S603  # our own programs
            ["taskset", "-c", str(args.core), *command(arm, args)],  # noqa: S607  # from util-linux
            env=os.environ | ONE_THREAD,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=True,
        )
    except subprocess.TimeoutExpired:
        return Measured(arm, [], None, f"no answer in {TIMEOUT_S} s"), {}
    except subprocess.CalledProcessError as failed:
        last = (failed.stderr.strip().splitlines() or [f"exit code {failed.returncode}"])[-1]
        return Measured(arm, [], None, last), {}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    expected = arm.trees * arm.num_simulations
    if found["done"] != expected:
        return Measured(arm, [], None, f"{found['done']} simulations, not {expected}"), {}
    rates = [expected / seconds for seconds in found["seconds"]]
    nbytes = found["nbytes"] / expected if found["nbytes"] > 0 else None
    return Measured(arm, rates, nbytes), found.get("versions", {})


def merged(first: Measured, again: Measured) -> Measured:
    """Both timings of one arm."""
    error = first.error or again.error
    return Measured(first.arm, first.rates + again.rates, first.nbytes, error)


def machine() -> dict[str, object]:
    """What was timed on."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((line.split(":")[1].strip() for line in lines if "model name" in line), "")
    shown = subprocess.run(  # noqa: S603  # git and our own path
        ["git", "-C", str(ROOT), "describe", "--always", "--dirty"],  # noqa: S607  # as installed
        capture_output=True,
        text=True,
        check=False,
    )
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "commit": shown.stdout.strip(),
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers-python", default=str(ROOT / ".venv-peers/bin/python"))
    parser.add_argument("--rust", default=str(ROOT / "target/release/examples/peer_rate"))
    parser.add_argument("--branching", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--only", default="", help="peers whose name contains this")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def main() -> int:
    args = parse()
    peers = [arm for arm in PEERS if args.only.lower() in arm.name.lower()]
    sizes = {arm.size for arm in peers}
    ours = [arm for arm in OURS if arm.size in sizes]
    load = [os.getloadavg()[0]]
    versions: dict[str, str] = {}
    measured = []
    for arm in [*ours, *peers, *ours]:
        print(f"{arm.name}, {arm.trees} x {arm.num_simulations}", file=sys.stderr, flush=True)
        row, found = time_arm(arm, args)
        measured.append(row)
        versions |= found
    load.append(os.getloadavg()[0])
    first, others, last = (
        measured[: len(ours)],
        measured[len(ours) : len(measured) - len(ours)],
        measured[len(measured) - len(ours) :],
    )
    rows = [*map(merged, first, last), *others]
    about = machine() | {"branching": args.branching, "c": 2 * args.branching, "load": load}
    if args.json:
        plain = [asdict(row) for row in rows]
        print(json.dumps({"about": about, "versions": versions, "rows": plain}, indent=2))
    else:
        print(table(rows), end="\n\n")
        print(", ".join(f"{name} {value}" for name, value in about.items()))
        print(", ".join(f"{name} {version}" for name, version in sorted(versions.items())))
    return int(any(row.error for row in rows))


if __name__ == "__main__":
    sys.exit(main())
