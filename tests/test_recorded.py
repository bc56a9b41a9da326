import gzip
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from similar_fast.envs.recorded import Recorded
from similar_fast.envs.recorder import record
from similar_fast.envs.recording import read_recording
from similar_fast.envs.replay import Diverged, audit, replay
from similar_fast.errors import DataError, EnvError
from similar_fast.protocols import Environment
from similar_fast.types import Action, Element, Observation, StepResult

ONE, TWO = (Action("click", ("button", name, 0), text=f"click {name}") for name in ("ONE", "TWO"))


class Buttons:
    """A fake page with two buttons: ONE, then TWO, solves it; at most three clicks.

    The screen shows the number of clicks, or, where `is_blind`, nothing of what was clicked.
    """

    name = "buttons"
    relaunches = 0

    def __init__(self, *, is_blind: bool = False, noise: Callable[[], str] = str) -> None:
        self.is_blind = is_blind
        self.noise = noise
        self.clicks: list[str] = []

    def reset(self, task: str, *, seed: int) -> Observation:
        self.task, self.seed = task, seed
        self.clicks = []
        return self.screen()

    def screen(self) -> Observation:
        shown = "" if self.is_blind else f" {len(self.clicks)} {self.clicks[:1]}"
        text = f"{self.seed}{shown}{self.noise()}"
        elements = tuple(Element("button", name, 0, "click") for name in ("ONE", "TWO"))
        return Observation("ONE, then TWO", text, () if self.is_done else elements, f"{text:_<16}")

    @property
    def is_done(self) -> bool:
        return self.clicks[-2:] == ["ONE", "TWO"] or len(self.clicks) >= 3

    def candidates(self) -> tuple[Action, ...]:
        return () if self.is_done else (ONE, TWO)

    def step(self, action: Action) -> StepResult:
        self.clicks.append(action.target[1])
        success = self.clicks[-2:] == ["ONE", "TWO"]
        return StepResult(self.screen(), self.is_done, success and self.is_done)

    def close(self) -> None:
        pass


def outcomes(env: Environment, *actions: Action) -> list[tuple[str, bool, bool]]:
    env.reset("buttons", seed=7)
    results = [env.step(action) for action in actions]
    return [(r.observation.digest, r.is_done, r.success) for r in results]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return record(Buttons(), "buttons", 7, depth=3, folder=tmp_path)


def test_recorded_is_an_environment(path: Path) -> None:
    assert isinstance(Recorded(path), Environment)


@pytest.mark.parametrize("actions", [(ONE, TWO), (TWO, ONE, TWO), (ONE, ONE, ONE), (TWO,)])
def test_recorded_plays_as_the_real_environment(path: Path, actions: tuple[Action, ...]) -> None:
    assert outcomes(Recorded(path), *actions) == outcomes(Buttons(), *actions)


def test_recorded_candidates_keep_their_words(path: Path) -> None:
    env = Recorded(path)
    env.reset("buttons", seed=7)

    assert [str(action) for action in env.candidates()] == ["click ONE", "click TWO"]


def test_recorded_done_has_no_candidates_and_refuses_a_step(path: Path) -> None:
    env = Recorded(path)
    outcomes(env, ONE, TWO)

    assert env.candidates() == ()
    with pytest.raises(EnvError, match="the episode is done"):
        env.step(ONE)


def test_recorded_beyond_the_depth_says_so_and_stays(tmp_path: Path) -> None:
    env = Recorded(record(Buttons(), "buttons", 7, depth=1, folder=tmp_path))
    env.reset("buttons", seed=7)
    screen = env.step(ONE).observation

    result = env.step(TWO)

    assert result.error == "beyond the recorded depth of 1 actions"
    assert result.observation == screen
    assert not result.is_done


def test_recorded_unknown_action_says_so(path: Path) -> None:
    env = Recorded(path)
    env.reset("buttons", seed=7)

    result = env.step(Action("click", ("button", "SIX", 0)))

    assert result.error == 'not recorded on this screen: click button "SIX"'


def test_recorded_unknown_task_or_seed_names_what_there_is(path: Path) -> None:
    env = Recorded(path)

    with pytest.raises(EnvError, match="no recording of task 'button'; there is buttons"):
        env.reset("button", seed=7)
    with pytest.raises(EnvError, match="with seed 8; there is 7"):
        env.reset("buttons", seed=8)


def test_recorded_step_before_reset_is_an_error(path: Path) -> None:
    with pytest.raises(EnvError, match="no episode is running"):
        Recorded(path).step(ONE)


def test_recorded_close_twice_does_nothing(path: Path) -> None:
    env = Recorded(path)
    env.reset("buttons", seed=7)

    env.close()
    env.close()

    with pytest.raises(EnvError, match="no episode is running"):
        env.candidates()


def test_recorded_same_task_twice_is_an_error(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / f"copy-{path.name}"
    copy.write_bytes(path.read_bytes())

    with pytest.raises(DataError, match="same task and seed"):
        Recorded(tmp_path)


def test_recorded_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no recording"):
        Recorded(tmp_path)


def test_record_same_run_twice_is_the_same_file(path: Path, tmp_path: Path) -> None:
    again = record(Buttons(), "buttons", 7, depth=3, folder=tmp_path / "again")

    assert again.read_bytes() == path.read_bytes()


def test_record_shares_states_that_look_the_same(path: Path) -> None:
    # None; ONE; TWO; then by the first click and the count: 2 after ONE (1 going on, 1 solved),
    # 2 after TWO, and the ends after 3.
    assert len(read_recording(path).states) < 1 + 2 + 4 + 8


def test_record_hidden_memory_gives_each_path_its_own_state(tmp_path: Path) -> None:
    env = Buttons(is_blind=True)

    path = record(env, "buttons", 7, depth=3, folder=tmp_path)

    assert len(read_recording(path).states) == 1 + 2 + 4 + 6  # ONE, TWO ends after two
    for actions in ((ONE, TWO), (TWO, ONE, TWO), (TWO, TWO, TWO)):
        assert outcomes(Recorded(path), *actions) == outcomes(env, *actions)


def test_record_page_that_differs_each_time_is_refused(tmp_path: Path) -> None:
    ticks = iter(range(1000))
    env = Buttons(noise=lambda: f" {next(ticks)}")

    with pytest.raises(EnvError, match="is not the same twice"):
        record(env, "buttons", 7, depth=2, folder=tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_record_too_many_states_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EnvError, match="more than 2 states within 3 actions"):
        record(Buttons(), "buttons", 7, depth=3, folder=tmp_path, max_states=2)


def test_record_tells_its_progress(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []

    record(
        Buttons(),
        "buttons",
        7,
        depth=1,
        folder=tmp_path,
        progress=lambda found, left: told.append((found, left)),
    )

    assert told == [(2, 0), (3, 0)]


def rewrite(path: Path, change: Callable[[list[str]], list[str]]) -> None:
    lines = gzip.decompress(path.read_bytes()).decode().splitlines(keepends=True)
    path.write_bytes(gzip.compress("".join(change(lines)).encode()))


def test_read_truncated_file_is_a_data_error(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-12])

    with pytest.raises(DataError, match="not a whole gzip file") as caught:
        read_recording(path)
    assert caught.value.path == path


def test_read_other_file_is_a_data_error(path: Path) -> None:
    path.write_bytes(b"no gzip")

    with pytest.raises(DataError, match="not a whole gzip file"):
        Recorded(path)


def test_read_empty_file_is_a_data_error(path: Path) -> None:
    path.write_bytes(gzip.compress(b""))

    with pytest.raises(DataError, match="empty"):
        read_recording(path)


def test_read_missing_file_is_a_file_not_found_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Recorded(tmp_path / "none.jsonl.gz")


def test_read_missing_state_is_a_data_error(path: Path) -> None:
    rewrite(path, lambda lines: lines[:-1])

    with pytest.raises(DataError, match=r"expected \d+ states, found \d+ lines"):
        read_recording(path)


def test_read_altered_state_is_a_data_error(path: Path) -> None:
    rewrite(path, lambda lines: [line.replace("ONE", "0NE") for line in lines])

    with pytest.raises(DataError, match="the states were altered: their SHA-256 is"):
        read_recording(path)


def test_read_other_version_is_a_data_error_with_its_line(path: Path) -> None:
    rewrite(path, lambda lines: [lines[0].replace('"version":1', '"version":9'), *lines[1:]])

    with pytest.raises(DataError, match=r"version 1, found .* version 9") as caught:
        Recorded(path)
    assert caught.value.line == 1


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        ("[1]", "expected a JSON object, found list"),
        ("{", "not JSON"),
        ('{"text":1}', "'elements': expected list, found None"),
        ('{"text":1,"elements":[]}', "'text': expected str, found 1"),
        ('{"text":"","elements":[{"rule":"a"}]}', "invalid element"),
        ('{"text":"","digest":"","elements":[],"edges":[[0,"click",null,"",1]]}', "invalid edge"),
        ('{"text":"","digest":"","elements":[],"edges":[],"success":1}', "'success': expected"),
    ],
)
def test_read_invalid_state_is_a_data_error_with_its_line(
    path: Path, broken: str, problem: str
) -> None:
    def change(lines: list[str]) -> list[str]:
        states = [lines[1], broken + "\n", *lines[3:]]
        header = json.loads(lines[0])
        header["sha256"] = hashlib.sha256("".join(states).encode()).hexdigest()
        return [json.dumps(header) + "\n", *states]

    rewrite(path, change)

    with pytest.raises(DataError, match=problem) as caught:
        read_recording(path)
    assert (caught.value.path, caught.value.line) == (path, 3)


def test_builtin_recordings_can_each_be_solved_within_their_depth() -> None:
    env = Recorded.builtin()

    for task, seeds in env.tasks().items():
        for seed in seeds:
            env.reset(task, seed=seed)
            recording = read_recording(env.path(task, seed))
            assert any(state.success for state in recording.states), (task, seed)
            assert all(2000 <= seed < 2020 for seed in seeds)


def test_builtin_recordings_are_small_and_many() -> None:
    env = Recorded.builtin()

    sizes = [
        env.path(task, seed).stat().st_size for task, seeds in env.tasks().items() for seed in seeds
    ]

    assert len(env.tasks()) >= 8
    assert sum(sizes) < 1.5e6


def test_replay_recorded_path_ends_on_the_same_screen(path: Path) -> None:
    env = Recorded(path)
    first = env.reset("buttons", seed=7)
    second = env.step(ONE).observation

    assert replay(env, "buttons", 7, [ONE], [first.digest, second.digest]) == second


def test_replay_other_digest_tells_the_step(path: Path) -> None:
    env = Recorded(path)
    first = env.reset("buttons", seed=7)

    result = replay(env, "buttons", 7, [ONE], [first.digest, "f" * 16])

    assert isinstance(result, Diverged)
    assert (result.step, result.expected) == (1, "f" * 16)


def test_replay_wrong_number_of_digests_is_a_value_error(path: Path) -> None:
    with pytest.raises(ValueError, match="expected 2 digests for 1 actions, got 1"):
        replay(Recorded(path), "buttons", 7, [ONE], ["f" * 16])


def test_audit_exact_environment_finds_nothing(path: Path) -> None:
    report = audit(Recorded(path), ["buttons"], seeds=[7], fresh=lambda: Recorded(path))

    assert (report.episodes, report.replays, report.divergences) == (1, 2, ())
    assert str(report).startswith("0 of 2 replays diverged (1 episodes, ")


def test_audit_drifting_environment_lists_the_lines_that_differ() -> None:
    ticks = iter(range(1000))
    env = Buttons(noise=lambda: f"\nround {next(ticks) // 4}")

    report = audit(env, ["buttons"], seeds=[7], max_steps=3)

    assert len(report.divergences) == 1
    divergence = report.divergences[0]
    assert (divergence.task, divergence.seed, divergence.is_fresh) == ("buttons", 7, False)
    assert "-round 0" in divergence.lines
    assert "+round 1" in divergence.lines
