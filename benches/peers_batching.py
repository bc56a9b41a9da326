"""The same requests through this project's batching and through two others', in one run.

Each arm answers requests of one item with a scorer that does nothing, so what is timed is the
batching. Three ways to ask: threads that block, tasks of one event loop, and one call that brings
many items. Every library gets batches of the same size, and either no wait for company or 2 ms.

- `batched` keeps a priority queue of Python objects with a future each; its thread sleeps for the
  timeout wherever less than a batch is queued, and takes what is there then; with a timeout of zero
  it spins, and keeps a core busy where nobody asks (the last column). Tasks have a class of
  their own, which runs in their event loop.
- LitServe is a server: its batching is `BatchedLoop`, which a worker process runs between two
  queues. Here it runs in a thread between `queue.Queue` and a transport that hands each answer
  straight to its caller: no HTTP, no process, no pickling, which flatters it. It polls its queue in
  steps of a millisecond, and inspects the signature of each hook for each item.
- Both answer with one Python object an item, ours with columns; both know of no deadlines,
  cancellation or bound on the queue. `batched` has two priorities that do not age, and a limit on
  length for its event-loop class; LitServe times a request out in its queue.

`make bench-peers-batching` installs the peers in a virtual environment of their own and runs this.
"""

import argparse
import asyncio
import json
import os
import queue
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from similar_fast.batching import BatchingScorer
from similar_fast.types import Scores, Step

WAITS_S = (0.0, 0.002)
THREADS, TASKS = 8, 256
REPEATS = 5
IDLE_S = 0.2
STEP = Step("a task", (), "click OK")


class Free:
    def score(self, steps: Sequence[Step]) -> Scores:
        return Scores(np.zeros(len(steps), np.float32))


class Library(NamedTuple):
    """How to ask one library: for one item, for one item in a task, for many items."""

    ask: Callable[[], float]
    aask: Callable[[], Any]
    ask_many: Callable[[int], int]


@contextmanager
def ours(max_batch_size: int, max_wait_s: float) -> Iterator[Library]:
    mine = [STEP]
    with BatchingScorer(Free(), max_batch_size=max_batch_size, max_wait_s=max_wait_s) as scorer:

        async def aask() -> float:
            return (await scorer.ascore(mine)).total[0]

        yield Library(
            ask=lambda: scorer.score(mine).total[0],
            aask=aask,
            ask_many=lambda n: len(scorer.score(mine * n)),
        )


@contextmanager
def batched_package(max_batch_size: int, max_wait_s: float) -> Iterator[Library]:
    import batched  # noqa: PLC0415 - in the peers' environment alone

    def score(items: list[Step]) -> list[float]:
        return [0.0] * len(items)

    wait_ms = 1000 * max_wait_s
    threaded = batched.BatchProcessor(score, batch_size=max_batch_size, timeout_ms=wait_ms)
    in_loop = batched.aio.AsyncBatchProcessor(score, batch_size=max_batch_size, timeout_ms=wait_ms)
    try:
        yield Library(
            ask=lambda: threaded(STEP),
            aask=lambda: in_loop(STEP),
            ask_many=lambda n: len(threaded([STEP] * n)),
        )
    finally:
        threaded.shutdown()


class Direct:
    """A transport of LitServe's: the name of a request is the way back to who asked."""

    def send(self, item: tuple[Callable[[float], None], tuple[Any, ...]], **_: object) -> None:
        answer, (value, *_rest) = item
        answer(value)


def litserve_api(max_batch_size: int, max_wait_s: float) -> Any:  # noqa: ANN401 - a peer's type
    import litserve  # noqa: PLC0415 - in the peers' environment alone

    class Api(litserve.LitAPI):
        def setup(self, device: str) -> None:
            pass

        def decode_request(self, request: Step) -> Step:
            return request

        def batch(self, inputs: list[Step]) -> list[Step]:
            return inputs

        def predict(self, x: list[Step]) -> list[float]:
            return [0.0] * len(x)

        def unbatch(self, output: list[float]) -> list[float]:
            return output

        def encode_response(self, output: float) -> float:
            return output

    api = Api(max_batch_size=max_batch_size, batch_timeout=max_wait_s)
    api.request_timeout = -1
    return api


@contextmanager
def litserve_loop(max_batch_size: int, max_wait_s: float) -> Iterator[Library]:
    from litserve.callbacks import CallbackRunner  # noqa: PLC0415 - as above
    from litserve.loops.simple_loops import BatchedLoop  # noqa: PLC0415 - as above

    api = litserve_api(max_batch_size, max_wait_s)
    requests: queue.Queue[Any] = queue.Queue()
    thread = threading.Thread(
        target=BatchedLoop().run_batched_loop,
        args=(api, requests, Direct(), CallbackRunner()),
        daemon=True,
    )
    thread.start()

    def put(answer: Callable[[float], None]) -> None:
        requests.put((0, answer, time.monotonic(), STEP))

    def ask() -> float:
        future: Future[float] = Future()
        put(future.set_result)
        return future.result()

    async def aask() -> float:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        put(lambda value: loop.call_soon_threadsafe(future.set_result, value))
        return await future

    def ask_many(n: int) -> int:
        futures: list[Future[float]] = [Future() for _ in range(n)]
        for future in futures:
            put(future.set_result)
        return len([future.result() for future in futures])

    try:
        yield Library(ask, aask, ask_many)
    finally:
        requests.put((None, None, None, None))
        thread.join()


LIBRARIES = {"ours": ours, "batched": batched_package, "LitServe": litserve_loop}


def from_threads(library: Library, n: int) -> None:
    def ask() -> None:
        for _ in range(n // THREADS):
            assert library.ask() == 0.0

    threads = [threading.Thread(target=ask) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def from_tasks(library: Library, n: int) -> None:
    async def ask() -> None:
        for _ in range(n // TASKS):
            assert await library.aask() == 0.0

    async def ask_all() -> None:
        await asyncio.gather(*(ask() for _ in range(TASKS)))

    asyncio.run(ask_all())


def from_one_call(library: Library, n: int) -> None:
    assert library.ask_many(n) == n


class Arm(NamedTuple):
    name: str
    run: Callable[[Library, int], None]
    max_batch_size: int
    requests: dict[str, int]


ARMS = [
    Arm(
        f"{THREADS} threads that block, batches of 8",
        from_threads,
        8,
        {"ours": 20_000, "batched": 3_200, "LitServe": 3_200},
    ),
    Arm(
        f"{TASKS} tasks of one event loop, batches of 32",
        from_tasks,
        32,
        {"ours": 25_600, "batched": 7_680, "LitServe": 5_120},
    ),
    Arm(
        "one call with all items, batches of 32",
        from_one_call,
        32,
        {"ours": 1_000_000, "batched": 20_000, "LitServe": 5_000},
    ),
]


class Timing(NamedTuple):
    """Medians: requests a second of wall time, CPU microseconds a request, share of a core idle."""

    per_second: float
    cpu_us: float
    idle: float


def time_arm(arm: Arm, name: str, max_wait_s: float) -> Timing:
    n = arm.requests[name]
    walls, cpus, idles = [], [], []
    for _ in range(REPEATS):
        with LIBRARIES[name](arm.max_batch_size, max_wait_s) as library:
            wall, cpu = time.perf_counter(), time.process_time()
            arm.run(library, n)
            walls.append(time.perf_counter() - wall)
            cpus.append(time.process_time() - cpu)
            cpu = time.process_time()
            time.sleep(IDLE_S)
            idles.append((time.process_time() - cpu) / IDLE_S)
    return Timing(
        n / statistics.median(walls), 1e6 * statistics.median(cpus) / n, statistics.median(idles)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    options = parser.parse_args()
    print(f"load average {os.getloadavg()[0]:.1f}, medians of {REPEATS}; ratios are to ours")
    print("| asked by | wait | library | requests/s | CPU us | wall | CPU | idle |")
    print("|---|---|---|---|---|---|---|---|")
    rows = []
    for arm in ARMS:
        for max_wait_s in WAITS_S:
            timings = {name: time_arm(arm, name, max_wait_s) for name in LIBRARIES}
            best = timings["ours"]
            for name, timing in timings.items():
                print(
                    f"| {arm.name} | {1000 * max_wait_s:g} ms | {name} | {timing.per_second:,.0f} "
                    f"| {timing.cpu_us:.2f} | {best.per_second / timing.per_second:.1f}x "
                    f"| {timing.cpu_us / best.cpu_us:.1f}x | {100 * timing.idle:.0f}% |",
                    flush=True,
                )
                row = {"arm": arm.name, "max_wait_s": max_wait_s, "library": name}
                rows.append(row | timing._asdict())
    if options.json is not None:
        options.json.write_text(json.dumps({"load": os.getloadavg()[0], "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
