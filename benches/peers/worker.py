"""Times one search in this process and prints what it found as one line of JSON.

    python worker.py peer_mctx --trees 1 --branching 4 --simulations 1000 --repeats 5

An adapter module has `searcher(trees, branching, num_simulations)`, which returns a function that
runs whole searches; `visits(result)`, the completed simulations of each tree; `PACKAGES`, whose
versions are noted; and where a tree knows its size, `nbytes(result)`. Otherwise memory is what the
process grows by while a second search is held beside the first. What `searcher` does, and these two
searches (which compile what is compiled on first use), are not timed. A timing runs searches for
at least a quarter of a second of CPU time, all threads, and takes their mean.
"""

import argparse
import gc
import importlib
import importlib.metadata
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

ENOUGH_S = 0.25


def resident_bytes() -> int:
    """Memory of this process."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def grown_by(run: Callable[[], object]) -> int:
    """What the process grows by while one more result is held."""
    gc.collect()
    before = resident_bytes()
    result = run()
    grown = resident_bytes() - before
    del result
    return grown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("module")
    parser.add_argument("--searcher", default="searcher")
    parser.add_argument("--trees", type=int, default=1)
    parser.add_argument("--branching", type=int, default=4)
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    adapter = importlib.import_module(args.module)
    run = getattr(adapter, args.searcher)(args.trees, args.branching, args.simulations)
    result = run()
    done = sum(adapter.visits(result))
    used = adapter.nbytes(result) if hasattr(adapter, "nbytes") else grown_by(run)
    seconds = []
    for _ in range(args.repeats):
        gc.collect()
        start, searches = time.process_time(), 0
        while time.process_time() - start < ENOUGH_S:
            result = run()
            searches += 1
        seconds.append((time.process_time() - start) / searches)
    if sum(adapter.visits(result)) != done:
        raise RuntimeError(f"two searches differ: {adapter.visits(result)} against {done}")
    versions = {name: importlib.metadata.version(name) for name in adapter.PACKAGES}
    print(json.dumps({"seconds": seconds, "done": done, "nbytes": used, "versions": versions}))


if __name__ == "__main__":
    main()
