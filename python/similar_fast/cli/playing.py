"""Episodes played in several threads, an environment each, that all stop together."""

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from similar_fast.errors import EnvError, ScorerError
from similar_fast.search.search import CancelledRunError

if TYPE_CHECKING:
    from similar_fast.protocols import Environment
    from similar_fast.search.episodes import Episode
    from similar_fast.types import SearchResult

__all__ = ["Failure", "Play", "Played", "play_all"]

Play = Callable[["Environment", str, int, threading.Event], "Played"]
"""Plays a task with a seed; raises `CancelledRunError` where the event is set before its end."""


@dataclass(frozen=True, slots=True)
class Played:
    """An episode, and what the search found where a search played it."""

    episode: "Episode"
    result: "SearchResult | None" = None


@dataclass(frozen=True, slots=True)
class Failure:
    """An episode that its environment or its scorer did not bring to an end."""

    task: str
    seed: int
    error: EnvError | ScorerError


def play_all(
    play: Play,
    pairs: Sequence[tuple[str, int]],
    envs: Sequence["Environment"],
    keep: Callable[[Played | Failure], None],
) -> None:
    """Plays every (task, seed) and hands each episode to `keep`, in the calling thread.

    Whatever ends it early, an interrupt or an error of a worker or of `keep`, stops every running
    search; what was finished by then is still kept.

    Args:
        play: Plays one episode; called from `len(envs)` threads at once.
        pairs: What to play.
        envs: One environment a thread.
        keep: Takes an episode as soon as it is finished, in no set order.
    """
    finished: queue.SimpleQueue[Played | Failure | None] = queue.SimpleQueue()
    todo: queue.SimpleQueue[tuple[str, int]] = queue.SimpleQueue()
    for pair in pairs:
        todo.put(pair)
    stop = threading.Event()
    with ThreadPoolExecutor(len(envs)) as pool:
        workers = [pool.submit(_work, env, play, todo, finished, stop) for env in envs]
        try:
            for _ in workers:
                while (played := finished.get()) is not None:
                    keep(played)
        finally:
            stop.set()
            pool.shutdown()
            while not finished.empty():
                if (played := finished.get()) is not None:
                    keep(played)
    for worker in workers:
        worker.result()


def _work(
    env: "Environment",
    play: Play,
    todo: "queue.SimpleQueue[tuple[str, int]]",
    finished: "queue.SimpleQueue[Played | Failure | None]",
    stop: threading.Event,
) -> None:
    """One thread: plays until nothing is left or `stop` is set; sets it where it breaks."""
    try:
        while not stop.is_set():
            try:
                task, seed = todo.get_nowait()
            except queue.Empty:
                return
            try:
                finished.put(play(env, task, seed, stop))
            except CancelledRunError:
                return
            except (EnvError, ScorerError) as error:
                if not stop.is_set():  # a browser that dies while all ends is no news
                    finished.put(Failure(task, seed, error))
    except BaseException:
        stop.set()
        raise
    finally:
        finished.put(None)
