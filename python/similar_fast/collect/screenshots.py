"""Pictures of states that records tell of in words: reset, do what the history says, look."""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from similar_fast.errors import EnvError
from similar_fast.protocols import Environment
from similar_fast.records import PairRecord, StepRecord

__all__ = ["Picture", "take_pictures"]

Place = tuple[str, int | None, tuple[str, ...]]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Picture:
    """The picture of one state.

    Attributes:
        place: Task, seed and history of the state.
        name: What `keep` called it; None where the state could not be shown again.
        problem: Why not; empty where it could.
    """

    place: Place
    name: str | None
    problem: str = ""


def take_pictures(
    env: Environment,
    records: Iterable[StepRecord | PairRecord],
    *,
    keep: Callable[[bytes], str],
) -> Iterator[Picture]:
    """The picture of every state of `records`, each once; of a whole trajectory, its first.

    A picture is only taken where the screen's words are those of the record. Where the environment
    fails, a state is tried once more, and then has none.

    Args:
        env: The environment; its running episode ends.
        records: With task, seed, history and observation.
        keep: Takes a picture's bytes and returns its name.
    """
    done: set[Place] = set()
    for record in records:
        place = (record.task, record.seed, record.history)
        if place in done:
            continue
        done.add(place)
        problem, picture = _look(env, record)
        yield Picture(place, None if picture is None else keep(picture), problem)


def _look(env: Environment, record: StepRecord | PairRecord) -> tuple[str, bytes | None]:
    """Why there is no picture, or the picture."""
    if record.seed is None:
        return "the record has no seed", None
    where = (record.task, record.seed, record.history)
    problem = ""
    for _ in range(2):
        try:
            problem, take = _go(env, *where, expected=record.observation)
            return problem, None if take is None else take()
        except EnvError as error:
            problem = str(error)
            logger.warning("%s/%s could not be shown: %s", record.task, record.seed, error)
    return problem, None


def _go(
    env: Environment, task: str, seed: int, history: tuple[str, ...], *, expected: str
) -> tuple[str, Callable[[], bytes] | None]:
    """Why the state cannot be shown, or what takes its picture."""
    observation = env.reset(task, seed=seed)
    for text in history:
        action = next((a for a in env.candidates() if str(a) == text), None)
        if action is None:
            return f"the screen does not offer {text!r}", None
        observation = env.step(action).observation
    if observation.text != expected:
        return "the screen's words are not those of the record", None
    if observation.screenshot is None:
        return "the environment has no pictures", None
    return "", observation.screenshot
