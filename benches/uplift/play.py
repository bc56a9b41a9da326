"""Plays what is missing of the arms, an episode a row; a second call goes on."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from similar_fast.cli.playing import Failure, Play, Played, play_all
from similar_fast.collect.episode import Episode as LabelledEpisode
from similar_fast.collect.episode import collect_episode
from similar_fast.collect.policies import ScoreCache
from similar_fast.envs.recorded import Recorded
from similar_fast.protocols import Environment, Scorer
from similar_fast.search.episodes import (
    Episode,
    EpisodeLog,
    Policy,
    RandomPolicy,
    ScoredPolicy,
    play,
    run_search,
)
from similar_fast.search.search import Search
from similar_fast.types import Action, Scores, Step
from uplift.guides import Guides, digest_of_steps, probe
from uplift.plan import MAX_STEPS, ORACLE, SEARCH, Arm, row_name
from uplift.rows import LOG, PACKED, adopt, check_rows, read_rows

__all__ = ["Options", "play_arms"]

_PROBE_SEED = 2000
_TELL_EVERY_S = 30.0
_PASSES = 2  # what failed is tried once more


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is played, and where.

    Attributes:
        env: `miniwob`, or `recorded` for the recordings that come with the package.
        tasks: The environment's names of the tasks.
        seeds: The tasks' seeds.
        models: Folders of reward models by name, that of the shuffled labels included.
        workers: Pages that are played at once.
        out: The folder of the logs.
        committed: The folder of the rows that are taken over first; None takes none.
        chromium: The browser's path; None looks for one.
    """

    env: str
    tasks: Sequence[str]
    seeds: Sequence[int]
    models: dict[str, Path]
    workers: int
    out: Path
    committed: Path | None
    chromium: str | None = None

    @property
    def pairs(self) -> list[tuple[str, int]]:
        """(task, seed), seeds outside: what an early stop leaves is even over tasks."""
        return [(task, seed) for seed in self.seeds for task in self.tasks]


def play_arms(arms: Sequence[Arm], options: Options) -> int:
    """Plays every arm; returns how many episodes failed and are to be tried again.

    Raises:
        DataError: A log, or a committed file, holds rows of another model or setting.
        EnvError: There is no Chromium.
        ModelError: A model's folder does not fit.
    """
    options.out.mkdir(parents=True, exist_ok=True)
    failed = 0
    with _environments(options) as envs:
        steps = probe(envs[0], _probe_pairs(options, envs[0]))
        guides = Guides(options.models, steps)
        common = {"env": options.env, "screens": digest_of_steps(steps)}
        # All names before the first episode: a log that does not fit is better found now.
        names = {}
        for arm in arms:
            what = dict(common)
            if arm.guide is not None:
                what["guide"] = guides.fingerprint(arm.guide)
            names[arm.name] = row_name(arm, what)
            with _open_log(arm, names[arm.name], options):
                pass
        for place, arm in enumerate(arms, 1):
            say(f"arm {place} of {len(arms)}: {arm.name}")
            failed += _play_arm(arm, names[arm.name], guides, envs=envs, options=options)
    return failed


def _probe_pairs(options: Options, env: Environment) -> list[tuple[str, int]]:
    """The walks that tell which candidates and words the environment offers."""
    if isinstance(env, Recorded):
        return [(task, seeds[0]) for task, seeds in sorted(env.tasks().items())]
    from similar_fast.envs.miniwob import HELD_OUT_TASKS, TRAIN_TASKS  # noqa: PLC0415  # an extra

    assert options.env == "miniwob"
    return [(task, _PROBE_SEED) for task in (*TRAIN_TASKS, *HELD_OUT_TASKS)]


@contextlib.contextmanager
def _environments(options: Options) -> Iterator[list[Environment]]:
    if options.env == "recorded":
        yield [Recorded.builtin() for _ in range(options.workers)]
        return
    from similar_fast.envs.browser import Browser  # noqa: PLC0415  # an extra
    from similar_fast.envs.miniwob import MiniWob  # noqa: PLC0415  # as above

    with contextlib.ExitStack() as stack:
        browser = stack.enter_context(Browser(executable=options.chromium))
        yield [stack.enter_context(MiniWob(browser=browser)) for _ in range(options.workers)]


@contextlib.contextmanager
def _open_log(arm: Arm, name: str, options: Options) -> Iterator[EpisodeLog]:
    """The arm's log, checked, with the committed rows in it."""
    path = options.out / (arm.name + LOG)
    log = EpisodeLog(path)
    try:
        check_rows(log.episodes, name, path)
        if options.committed is not None:
            packed = options.committed / (arm.name + PACKED)
            rows = read_rows(packed) if packed.exists() else []
            check_rows(rows, name, packed)
            if taken := adopt(log, rows):
                say(f"  {arm.name}: {taken} committed rows")
        yield log
    finally:
        log.close()


def _play_arm(
    arm: Arm, name: str, guides: Guides, *, envs: Sequence[Environment], options: Options
) -> int:
    with _open_log(arm, name, options) as log:
        left = log.missing(name, options.pairs)
        if not left:
            return 0
        player = _player(arm, name, None if arm.guide is None else guides.scorer(arm.guide))
        for _ in range(_PASSES):
            told = _Told(arm.name, len(left))

            def keep(played: Played | Failure, told: "_Told" = told) -> None:
                if isinstance(played, Failure):
                    say(f"  {played.task} seed {played.seed} failed: {played.error}")
                else:
                    log.append(played.episode)
                told.advance(played)

            play_all(player, left, envs[: len(left)], keep)
            told.tell()
            left = log.missing(name, left)
            if not left:
                break
    return len(left)


class _Told:
    """Says now and then how far an arm is."""

    def __init__(self, name: str, total: int) -> None:
        self._name = name
        self._total = total
        self._done = 0
        self._solved = 0
        self._started = self._last = time.perf_counter()

    def advance(self, played: Played | Failure) -> None:
        self._done += 1
        self._solved += isinstance(played, Played) and played.episode.success
        if time.perf_counter() - self._last > _TELL_EVERY_S:
            self.tell()

    def tell(self) -> None:
        self._last = time.perf_counter()
        seconds = self._last - self._started
        each = seconds / max(1, self._done)
        say(
            f"  {self._name}: {self._done} of {self._total} episodes, {self._solved} solved, "
            f"{each:.2f} s each, {each * (self._total - self._done) / 60:.1f} min left"
        )


def say(line: str) -> None:
    """A line of progress, on stderr."""
    print(line, file=sys.stderr, flush=True)


def _player(arm: Arm, name: str, scorer: Scorer | None) -> Play:
    """How one episode of the arm is played; called from several threads."""
    if arm.player == "search":
        assert scorer is not None
        settings = asdict(SEARCH)
        search = Search(scorer, budget=arm.budget, max_depth=MAX_STEPS, **settings)

        def search_one(env: Environment, task: str, seed: int, stop: threading.Event) -> Played:
            return Played(run_search(env, search, arm=name, task=task, seed=seed, stop=stop)[0])

        return search_one
    if arm.player == "oracle":
        assert scorer is not None

        def walk_one(env: Environment, task: str, seed: int, _: threading.Event) -> Played:
            return Played(_walk(env, scorer, arm=name, task=task, seed=seed))

        return walk_one

    def play_one(env: Environment, task: str, seed: int, _: threading.Event) -> Played:
        policy: Policy = RandomPolicy()
        if scorer is not None:
            policy = ScoredPolicy(scorer, temperature=arm.temperature, guard=arm.guard)
        return Played(play(env, policy, arm=name, task=task, seed=seed, max_steps=MAX_STEPS))

    return play_one


class _Counted:
    """A scorer that counts the steps it scored."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self.scored = 0

    def score(self, steps: Sequence[Step]) -> Scores:
        self.scored += len(steps)
        return self._scorer.score(steps)


def _walk(env: Environment, scorer: Scorer, *, arm: str, task: str, seed: int) -> Episode:
    """The rollout oracle's episode: what the greedy walk took, or a rollout that did better."""
    counted = _Counted(scorer)
    found = collect_episode(env, task, seed=seed, settings=ORACLE, cache=ScoreCache(counted))
    counts = found.counts
    actions, success, is_done = _best_ending(found)
    return Episode(
        arm=arm,
        task=task,
        seed=seed,
        success=success,
        is_done=is_done,
        actions=tuple(map(str, actions)),
        env_steps=counts.env_steps,
        resets=counts.resets,
        scored_actions=counted.scored,
        diverged=counts.diverged,
        relaunches=counts.relaunches,
        seconds=found.seconds,
    )


def _best_ending(found: LabelledEpisode) -> tuple[tuple[Action, ...], bool, bool]:
    """The walk's actions, or where it failed the shortest that reached the goal in a rollout.

    A walk ends where every action leaves its screen as it was, whatever lies behind them, and
    where labels of few rollouts lead it astray; the rollouts have seen the goal nevertheless.

    Returns:
        The actions, whether they reach the goal, and whether they end the episode.
    """
    endings = [step for step in found.steps if step.edge.is_final]
    solved = [(*step.path, step.action) for step in endings if step.edge.successes]
    if solved and not found.success:
        return min(solved, key=len), True, True
    is_done = any((*step.path, step.action) == found.walked for step in endings)
    return found.walked, bool(found.success), is_done
