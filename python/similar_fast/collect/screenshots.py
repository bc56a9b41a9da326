"""Pictures of states that records tell of in words: reset, do what the history says, look."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from similar_fast.protocols import Environment
from similar_fast.records import PairRecord, StepRecord

__all__ = ["Picture", "take_pictures"]

Place = tuple[str, int, tuple[str, ...]]


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
    """The picture of every state of `records`, each once.

    A picture is only taken where the screen's words are those of the record.

    Args:
        env: The environment; its running episode ends.
        records: With task, seed, history and observation.
        keep: Takes a picture's bytes and returns its name.

    Raises:
        EnvError: The environment failed.
    """
    done: set[Place] = set()
    for record in records:
        if record.seed is None or record.step < 1:
            continue
        place = (record.task, record.seed, record.history)
        if place in done:
            continue
        done.add(place)
        problem, take = _go(env, place, record.observation)
        name = None if take is None else keep(take())
        yield Picture(place, name, problem)


def _go(env: Environment, place: Place, expected: str) -> tuple[str, Callable[[], bytes] | None]:
    """Why the state cannot be shown, or what takes its picture."""
    task, seed, history = place
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
