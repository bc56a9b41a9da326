"""Episodes of many tasks and seeds, played by a policy, written one a line and resumable."""

import json
import math
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from similar_fast.errors import DataError
from similar_fast.files.file_lock import lock_file
from similar_fast.protocols import Environment, Scorer
from similar_fast.scoring import candidate_steps, score_steps
from similar_fast.search.search import Search, SearchProgress
from similar_fast.types import Action, Observation, SearchResult

__all__ = [
    "Episode",
    "EpisodeLog",
    "Policy",
    "RandomPolicy",
    "ScoredPolicy",
    "play",
    "run_search",
]


_ROW_START = b'{"arm": '
_SHOWN = 3  # settings that an error names


@dataclass(frozen=True, slots=True)
class Episode:
    """One played episode, one line of a log.

    Attributes:
        arm: Who played, with every setting that matters; rows of one arm are comparable.
        task: The environment's name of the task.
        seed: The task's seed.
        success: Whether the task was fully solved.
        is_done: Whether the episode ended within the allowed actions.
        actions: What was done (for a search: committed), in words.
        env_steps: Steps sent, replays included; for a search without its final run.
        resets: Resets of the environment.
        scored_actions: Actions that a scorer scored.
        diverged: Replays that did not repeat.
        relaunches: Times the environment died and was brought back.
        seconds: Wall time.
        settings: What changes what is played, by name, fit for JSON; None where it was not noted.
    """

    arm: str
    task: str
    seed: int
    success: bool
    is_done: bool
    actions: tuple[str, ...]
    env_steps: int
    resets: int
    scored_actions: int
    diverged: int
    relaunches: int
    seconds: float
    settings: Mapping[str, Any] | None = field(default=None, hash=False)

    def to_json(self) -> str:
        """The log line, without its line break; settings that were not noted have no key."""
        record = asdict(self)
        if self.settings is None:
            del record["settings"]
        return json.dumps(record)


class Policy(Protocol):
    """Chooses an action without looking ahead."""

    def choose(
        self,
        observation: Observation,
        candidates: Sequence[Action],
        history: Sequence[Action],
        rng: random.Random,
    ) -> int:
        """The index of the chosen candidate; there is at least one."""
        ...


class RandomPolicy:
    """Chooses uniformly."""

    def choose(
        self,
        observation: Observation,  # noqa: ARG002  # the protocol's signature
        candidates: Sequence[Action],
        history: Sequence[Action],  # noqa: ARG002  # the protocol's signature
        rng: random.Random,
    ) -> int:
        """A uniform index."""
        return rng.randrange(len(candidates))


class ScoredPolicy:
    """Chooses by a scorer: the best candidate, or one sampled in proportion to exp(score / T).

    Args:
        scorer: Scores the candidates of a screen.
        temperature: T, in the scorer's scale; 0 takes the best, ties by the earliest candidate.
        guard: Never takes the same action twice on the same screen while another is left.

    Attributes:
        scored_actions: Actions scored so far.
    """

    def __init__(self, scorer: Scorer, *, temperature: float = 0.0, guard: bool = True) -> None:
        if not temperature >= 0:
            raise ValueError(f"temperature must not be negative, got {temperature}")
        self._scorer = scorer
        self._temperature = temperature
        self._guard = guard
        self._taken: set[tuple[str, Action]] = set()
        self.scored_actions = 0

    def choose(
        self,
        observation: Observation,
        candidates: Sequence[Action],
        history: Sequence[Action],
        rng: random.Random,
    ) -> int:
        """The index of the best, or of a sampled, candidate."""
        steps = candidate_steps(observation, candidates, history)
        totals = score_steps(self._scorer, steps).total.astype(float).tolist()
        self.scored_actions += len(steps)
        if not history:
            self._taken.clear()
        fresh = [i for i, a in enumerate(candidates) if (observation.digest, a) not in self._taken]
        allowed = fresh if self._guard and fresh else range(len(candidates))
        choice = self._pick(totals, allowed, rng)
        self._taken.add((observation.digest, candidates[choice]))
        return choice

    def _pick(self, totals: Sequence[float], allowed: Sequence[int], rng: random.Random) -> int:
        best = max(allowed, key=lambda i: totals[i])
        if self._temperature == 0:
            return best
        weights = [math.exp((totals[i] - totals[best]) / self._temperature) for i in allowed]
        return rng.choices(allowed, weights)[0]


def play(
    env: Environment,
    policy: Policy,
    *,
    arm: str,
    task: str,
    seed: int,
    max_steps: int = 8,
    policy_seed: int = 0,
) -> Episode:
    """Plays one episode with a policy that does not look ahead.

    Args:
        env: Where to play.
        policy: Who plays.
        arm: The row's name.
        task: The environment's name of the task.
        seed: The task's seed.
        max_steps: Actions at most.
        policy_seed: Seeds the policy's own draws, together with the arm, the task and the seed.
    """
    rng = random.Random(f"{policy_seed}:{arm}:{task}:{seed}")  # noqa: S311  # play, no secret
    started = time.perf_counter()
    relaunches = env.relaunches
    scored = getattr(policy, "scored_actions", 0)
    observation = env.reset(task, seed=seed)
    history: list[Action] = []
    success = is_done = False
    while not is_done and len(history) < max_steps:
        candidates = env.candidates()
        if not candidates:
            break
        action = candidates[policy.choose(observation, candidates, history, rng)]
        result = env.step(action)
        history.append(action)
        observation, is_done, success = result.observation, result.is_done, result.success
    return Episode(
        arm=arm,
        task=task,
        seed=seed,
        success=success,
        is_done=is_done,
        actions=tuple(str(action) for action in history),
        env_steps=len(history),
        resets=1,
        scored_actions=getattr(policy, "scored_actions", 0) - scored,
        diverged=0,
        relaunches=env.relaunches - relaunches,
        seconds=time.perf_counter() - started,
    )


def run_search(
    env: Environment,
    search: Search,
    *,
    arm: str,
    task: str,
    seed: int,
    progress: Callable[[SearchProgress], None] | None = None,
    stop: threading.Event | None = None,
) -> tuple[Episode, SearchResult]:
    """Searches one task; returns the log's row and the whole result.

    Raises:
        CancelledRunError: `stop` was set before the search was through.
    """
    result = search.run(env, task, seed=seed, progress=progress, stop=stop)
    episode = Episode(
        arm=arm,
        task=task,
        seed=seed,
        success=result.success,
        is_done=result.is_done,
        actions=tuple(str(action) for action in result.actions),
        env_steps=result.env_steps,
        resets=result.resets,
        scored_actions=result.scored_actions,
        diverged=result.diverged,
        relaunches=result.relaunches,
        seconds=result.seconds,
    )
    return episode, result


class EpisodeLog:
    """A JSON Lines file of episodes that a killed run can go on with.

    Each row is written and flushed before the next episode starts; what is there already is not
    played again. A last row that a kill cut short is dropped; a file that holds anything else is
    left as it is. While it is open, no other log can write to the file (where the system has file
    locks).

    Args:
        path: The file; made where it is missing. None keeps the episodes in memory only.

    Raises:
        DataError: A line is no episode, or another process writes to the file.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.episodes: list[Episode] = []
        self._file = None
        if path is None:
            return
        self._file = path.open("ab")
        try:
            lock_file(self._file, path)
            data = path.read_bytes()
            self.episodes, keep = _read_rows(data, path)
            self._file.truncate(keep)
            if keep and not data[:keep].endswith(b"\n"):
                self._file.write(b"\n")
                self._file.flush()
        except BaseException:
            self._file.close()
            raise

    @staticmethod
    def read_only(path: Path) -> list[Episode]:
        """The whole rows of a log that somebody may still be writing; the file is left alone."""
        return EpisodeLog.parse(path.read_bytes(), path)

    @staticmethod
    def parse(data: bytes, path: Path) -> list[Episode]:
        """The whole rows in the bytes of a log.

        Args:
            data: The log, unpacked.
            path: What an error names.

        Raises:
            DataError: A line is no episode.
        """
        return _read_rows(data, path)[0]

    def missing(self, arm: str, pairs: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
        """The (task, seed) pairs that `arm` has no row for, in order."""
        there = {(e.task, e.seed) for e in self.episodes if e.arm == arm}
        return [pair for pair in pairs if pair not in there]

    def check_settings(self, arm: str, settings: Mapping[str, Any]) -> None:
        """Refuses to go on under a name under which other settings were played.

        Rows without settings, as older versions wrote them, are not looked at.

        Args:
            arm: The rows' name.
            settings: What is about to be played, as in `Episode.settings`.

        Raises:
            DataError: A row of `arm` has other settings; the message names them.
        """
        wanted = _from_json(settings)
        for number, episode in enumerate(self.episodes, start=1):
            if episode.arm != arm or episode.settings is None:
                continue
            found = _from_json(episode.settings)
            if names := [n for n in {**wanted, **found} if wanted.get(n) != found.get(n)]:
                raise DataError(
                    f"{arm!r} was played with {_some(found, names)}; "
                    f"expected {_some(wanted, names)}, or another name",
                    path=self.path,
                    line=number,
                )

    def append(self, episode: Episode) -> None:
        """Writes one row and makes it last."""
        if self._file is not None:
            self._file.write(episode.to_json().encode() + b"\n")
            self._file.flush()
        self.episodes.append(episode)

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()


def _read_rows(data: bytes, path: Path) -> tuple[list[Episode], int]:
    """The whole rows of a log, and how many bytes they take; a torn last row is left out."""
    episodes = []
    keep = 0
    lines = data.split(b"\n")
    for number, line in enumerate(lines, start=1):
        is_last = number == len(lines)
        if is_last and not line:
            break
        try:
            episodes.append(_episode(json.loads(line)))
        except (ValueError, TypeError, KeyError) as error:
            if is_last and (line.startswith(_ROW_START) or _ROW_START.startswith(line)):
                break
            raise DataError(f"not an episode: {line[:80]!r}", path=path, line=number) from error
        keep += len(line) + (not is_last)
    return episodes, keep


def _from_json(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as they come back from a file: a tuple is a list."""
    return dict(json.loads(json.dumps(settings)))


def _some(settings: Mapping[str, Any], names: Sequence[str]) -> str:
    """The first settings of these names, in words."""
    words = [f"{name}={settings.get(name)!r}" for name in names[:_SHOWN]]
    return ", ".join(words) + (", ..." if len(names) > _SHOWN else "")


def _episode(record: dict[str, Any]) -> Episode:
    episode = Episode(**{**record, "actions": tuple(record["actions"])})
    for name, kind in (("arm", str), ("task", str), ("seed", int), ("success", bool)):
        if type(getattr(episode, name)) is not kind:
            raise TypeError(f"{name} is {getattr(episode, name)!r}, expected {kind.__name__}")
    if not isinstance(episode.settings, dict | None):
        raise TypeError(f"settings is {episode.settings!r}, expected names with their values")
    return episode
