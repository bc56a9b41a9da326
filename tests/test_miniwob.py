"""MiniWob in a real Chromium; a missing one is a failure."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from similar_fast.envs import miniwob
from similar_fast.envs.browser import (
    EXECUTABLE_NAMES,
    EXECUTABLE_VARIABLE,
    MAX_TEMP_FOLDER,
    Browser,
    find_chromium,
)
from similar_fast.envs.miniwob import HELD_OUT_TASKS, TRAIN_TASKS, MiniWob, screen_digest, tasks
from similar_fast.envs.recorded import Recorded
from similar_fast.envs.recorder import record
from similar_fast.envs.recording import read_recording
from similar_fast.envs.replay import audit
from similar_fast.errors import EnvError
from similar_fast.protocols import Environment
from similar_fast.types import Action, Observation

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


@pytest.fixture
def env(browser: Browser) -> Iterator[MiniWob]:
    with MiniWob(browser=browser) as env:
        yield env


def find(env: MiniWob, words: str) -> Action:
    """The one candidate whose words begin with `words`."""
    found = [action for action in env.candidates() if str(action).startswith(words)]
    assert len(found) == 1, [str(action) for action in env.candidates()]
    return found[0]


def log_in(env: MiniWob) -> list[str]:
    """Solves login-user with seed 2000; the digests on the way."""
    digests = [env.reset("login-user", seed=2000).digest]
    for words in (
        'type "thaddeus" (after "username") into textbox "Username"',
        'type "rwt" (after "password") into textbox "Password"',
        'click button "Login"',
    ):
        result = env.step(find(env, words))
        assert result.error is None
        digests.append(result.observation.digest)
    assert (result.is_done, result.success) == (True, True)
    return digests


def descendants() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def kill_chromium(browser: Browser) -> None:
    """SIGKILL to every process of the browser."""
    profile = str(browser._folders[0])
    for process in descendants():
        try:
            if any(profile in argument for argument in process.cmdline()):
                tree = [process, *process.children(recursive=True)]
                for one in tree:
                    one.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue


def test_miniwob_is_an_environment(env: MiniWob) -> None:
    assert isinstance(env, Environment)
    assert env.name == "miniwob"


def test_tasks_holds_those_to_train_and_to_judge_on() -> None:
    assert len(tasks()) == 130
    assert (len(TRAIN_TASKS), len(HELD_OUT_TASKS)) == (12, 8)
    assert set(TRAIN_TASKS) | set(HELD_OUT_TASKS) <= set(tasks())
    assert not set(TRAIN_TASKS) & set(HELD_OUT_TASKS)


def test_reset_shows_instruction_elements_and_text(env: MiniWob) -> None:
    screen = env.reset("login-user", seed=2000)

    assert screen.instruction == (
        'Enter the username "thaddeus" and the password "rwt" into the text fields and press login.'
    )
    assert [element.key for element in screen.elements] == [
        ("textbox", "Username", 0),
        ("textbox", "Password", 0),
        ("button", "Login", 0),
    ]
    assert screen.text.splitlines() == [
        'textbox "Username": empty',
        'textbox "Password": empty',
        'button "Login"',
    ]
    assert screen.digest == screen_digest(screen.instruction, screen.text, is_done=False)


def test_step_right_actions_solve_the_task(env: MiniWob) -> None:
    digests = log_in(env)

    assert len(set(digests)) == 4
    assert env.candidates() == ()


def test_step_wrong_ending_is_done_without_success(env: MiniWob) -> None:
    env.reset("login-user", seed=2000)

    result = env.step(find(env, 'click button "Login"'))

    assert (result.is_done, result.success, result.observation.elements) == (True, False, ())


def test_step_partial_reward_is_no_success(env: MiniWob) -> None:
    env.reset("click-checkboxes", seed=2000)
    env.step(find(env, 'click checkbox "rwt"'))
    env.step(find(env, 'click checkbox "9f3HBt"'))

    result = env.step(find(env, 'click button "Submit"'))

    assert (result.is_done, result.success) == (True, False)


def test_digest_does_not_tell_the_reward(env: MiniWob) -> None:
    """The same last screen, once with the right link and once with the wrong one."""
    digests, replay_digests, outcomes = set(), set(), set()
    for seed in (2000, 2001):
        env.reset("click-button-sequence", seed=seed)
        first, second = ("ONE", "TWO") if seed == 2000 else ("TWO", "ONE")
        env.step(find(env, f'click button "{first}"'))
        result = env.step(find(env, f'click button "{second}"'))
        digests.add(result.observation.digest)
        replay_digests.add(env.replay_digest)
        outcomes.add(result.success)

    assert outcomes == {True, False}
    assert len(digests) == 1
    assert len(replay_digests) == 2


def test_select_option_by_its_text(env: MiniWob) -> None:
    env.reset("choose-list", seed=2000)
    result = env.step(find(env, 'select "Benin" in combobox'))
    assert result.observation.elements[0].selected == ("Benin",)

    assert env.step(find(env, 'click button "Submit"')).success


def test_menu_of_jquery_ui_opens_and_names_its_icons(env: MiniWob) -> None:
    env.reset("click-menu-2", seed=2000)
    env.step(find(env, 'click button "Menu"'))
    find(env, 'click menuitem "Save" in "disk icon"')

    result = env.step(find(env, 'click menuitem "Playback"'))

    assert 'menuitem "Stop"' in result.observation.text
    assert 'menuitem "Print..." (disabled)' in result.observation.text


def test_instruction_names_the_icon_that_it_shows(env: MiniWob) -> None:
    assert "with the zoomout icon" in env.reset("click-menu-2", seed=2003).instruction


def test_autocomplete_offers_its_list_item_by_item(env: MiniWob) -> None:
    env.reset("use-autocomplete", seed=2000)

    env.step(find(env, 'type "Sa" (after "starts with") into textbox "Tags"'))

    assert len([a for a in env.candidates() if a.target[0] == "li"]) > 3


def test_icons_of_rows_are_told_apart_by_their_row(env: MiniWob) -> None:
    env.reset("email-inbox", seed=2000)

    stars = [str(a) for a in env.candidates() if str(a).startswith('click span "star"')]

    assert len(set(stars)) == len(stars) == 10
    assert 'click span "star" in "Glynda Fringilla. Mauris elit orn.."' in stars


def test_step_after_done_is_an_error(env: MiniWob) -> None:
    log_in(env)

    with pytest.raises(EnvError, match="the episode is done"):
        env.step(Action("click", ("button", "Login", 0)))


def test_step_before_reset_is_an_error(env: MiniWob) -> None:
    with pytest.raises(EnvError, match="no episode is running"):
        env.step(Action("click", ("button", "Login", 0)))


def test_step_missing_element_says_so_and_changes_nothing(env: MiniWob) -> None:
    screen = env.reset("login-user", seed=2000)

    result = env.step(Action("click", ("button", "Log out", 0)))

    assert result.error == 'there is no button "Log out" #1 on this screen'
    assert result.observation == screen


def test_step_kind_that_does_not_fit_says_so(env: MiniWob) -> None:
    env.reset("login-user", seed=2000)

    result = env.step(Action("type", ("button", "Login", 0), "x"))

    assert result.error == 'button "Login" takes no type'


def test_step_covered_element_says_what_is_in_front(env: MiniWob) -> None:
    env.reset("daily-calendar", seed=2003)
    covered = [env.step(action).error for action in env.candidates()[:12]]

    assert any(error and "is in front of it" in error for error in covered)


def test_step_type_nothing_is_a_value_error(env: MiniWob) -> None:
    env.reset("login-user", seed=2000)

    with pytest.raises(ValueError, match="a type action needs an argument, got None"):
        env.step(Action("type", ("textbox", "Username", 0)))


def test_reset_unknown_task_names_close_ones(env: MiniWob) -> None:
    with pytest.raises(EnvError, match=r"unknown MiniWoB\+\+ task 'login-usr'; .*login-user"):
        env.reset("login-usr", seed=0)


def test_digests_same_after_reset_in_another_page_and_in_another_browser(
    env: MiniWob, browser: Browser
) -> None:
    digests = log_in(env)

    assert log_in(env) == digests
    with MiniWob(browser=browser) as other:
        assert log_in(other) == digests
    with MiniWob() as own:
        assert log_in(own) == digests


def test_audit_finds_no_divergence(env: MiniWob, browser: Browser) -> None:
    report = audit(
        env,
        ["click-menu-2", "login-user-popup", "email-inbox"],
        seeds=(2000, 2001),
        max_steps=5,
        fresh=lambda: MiniWob(browser=browser),
    )

    assert report.divergences == ()
    assert report.replays == 12


def test_screenshot_is_a_png_of_the_current_screen(env: MiniWob) -> None:
    screen = env.reset("login-user", seed=2000)

    assert screen.screenshot is not None
    assert screen.screenshot().startswith(b"\x89PNG")


def test_screenshot_of_a_screen_left_behind_is_an_error(env: MiniWob) -> None:
    screen = env.reset("login-user", seed=2000)
    env.step(find(env, 'type "rwt" (after "password") into textbox "Password"'))

    assert screen.screenshot is not None
    with pytest.raises(EnvError, match="the environment has moved on"):
        screen.screenshot()


def test_page_is_given_up_after_its_episodes_and_nothing_changes(
    env: MiniWob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("similar_fast.envs.miniwob.MAX_PAGE_RESETS", 2)

    digests, pages = [], []
    for _ in range(3):
        digests.append(log_in(env))
        pages.append(env._page)

    assert digests[0] == digests[1] == digests[2]
    assert pages[0] is pages[1] is not pages[2]


def test_killed_browser_comes_back_with_the_episode(caplog: pytest.LogCaptureFixture) -> None:
    with MiniWob() as env:
        env.reset("login-user", seed=2000)
        env.step(find(env, 'type "thaddeus" (after "username") into textbox "Username"'))
        before = env.step(find(env, 'type "rwt" (after "password") into textbox "Password"'))
        folders = env._browser._folders
        kill_chromium(env._browser)

        assert before.observation.screenshot is not None
        assert before.observation.screenshot().startswith(b"\x89PNG")
        result = env.step(find(env, 'click button "Login"'))

        assert not any(folder.exists() for folder in folders)
        assert (result.success, env.relaunches) == (True, 1)
        assert "bringing the episode back" in caplog.text


def test_browser_that_dies_each_time_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    with MiniWob() as env:
        env.reset("login-user", seed=2000)

        def die(*_: object) -> None:
            kill_chromium(env._browser)

        start = MiniWob._start

        def start_and_die(self: MiniWob, *rest: object) -> object:
            screen = start(self, *rest)  # type: ignore[arg-type]  # handed through
            die()
            return screen

        monkeypatch.setattr(MiniWob, "_start", start_and_die)
        die()

        with pytest.raises(EnvError, match="the page died 4 times in a row"):
            env.step(Action("click", ("button", "Login", 0)))
        assert env.relaunches == 4


@pytest.mark.timeout(120)
def test_page_that_hangs_is_an_error_and_the_next_reset_works(browser: Browser) -> None:
    with MiniWob(browser=browser, timeout_s=2) as env:
        env.reset("click-button-sequence", seed=2000)
        assert env._page is not None
        env._page.evaluate(
            "frames[0].document.getElementById('subbtn').onclick = () => { for (;;); }"
        )

        with pytest.raises(EnvError, match="no answer within 2 s: waited for a click"):
            env.step(Action("click", ("button", "ONE", 0)))

        with pytest.raises(EnvError, match="no episode is running"):
            env.candidates()
        assert env.reset("click-test", seed=0).elements


def test_page_script_that_throws_is_an_error(env: MiniWob) -> None:
    env.reset("click-test", seed=0)
    assert env._page is not None

    with pytest.raises(EnvError, match="a script of the page failed: Error: told so"):
        env._page.evaluate("(() => { throw new Error('told so') })()")


def test_several_threads_each_with_its_own_page(browser: Browser) -> None:
    digests: dict[int, list[str]] = {}

    def work(number: int) -> None:
        with MiniWob(browser=browser) as env:
            digests[number] = log_in(env)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(digests) == 3
    assert digests[0] == digests[1] == digests[2]


def test_inside_a_running_asyncio_loop(env: MiniWob) -> None:
    async def work() -> Observation:
        return env.reset("login-user", seed=2000)

    assert asyncio.run(work()).elements


def test_close_leaves_no_process_and_no_folder() -> None:
    processes = {process.pid for process in descendants()}
    env = MiniWob()
    env.reset("click-test", seed=0)
    folders = env._browser._folders
    # A profile; a full Chromium has a folder for its socket as well.
    assert len(folders) == (1 if "headless-shell" in str(find_chromium()) else 2)
    assert all(folder.is_dir() for folder in folders)

    env.close()
    env.close()

    assert {process.pid for process in descendants()} <= processes
    assert not any(folder.exists() for folder in folders)


@pytest.mark.parametrize("task", [*TRAIN_TASKS, *HELD_OUT_TASKS, "click-dialog-2"])
def test_written_page_shows_what_the_loaded_one_shows(
    env: MiniWob, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert miniwob.whole_page_of(task) is not None
    written = [random_walk(env, task, seed) for seed in (4000, 4001)]

    monkeypatch.setattr(miniwob, "whole_page_of", lambda _task: None)

    assert [random_walk(env, task, seed) for seed in (4000, 4001)] == written


def random_walk(env: MiniWob, task: str, seed: int) -> list[str]:
    """Up to five actions of a seeded choice; what each screen stands for, and each error."""
    rng = random.Random(f"{task}:{seed}")
    env.reset(task, seed=seed)
    walk = [env.replay_digest]
    while (candidates := env.candidates()) and len(walk) <= 5:
        result = env.step(rng.choice(candidates))
        walk.append(f"{env.replay_digest} {result.error}")
    return walk


@pytest.fixture
def temp_folder() -> Iterator[Path]:
    """A folder whose path leaves room for Chromium's socket, which `tmp_path` may not."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


def test_exit_without_close_leaves_no_folder(temp_folder: Path) -> None:
    script = (
        "from similar_fast.envs.miniwob import MiniWob\n"
        "MiniWob().reset('click-test', seed=0)\n"
        "print('done')\n"
    )

    done = subprocess.run(  # our own script
        [sys.executable, "-W", "error", "-c", script],
        env={**os.environ, "TMPDIR": str(temp_folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")
    assert list(temp_folder.iterdir()) == []


def test_folder_without_room_for_the_socket_is_named(
    temp_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What a full Chromium does there; its headless shell has no socket and starts anywhere.
    stillborn = temp_folder / "stillborn"
    stillborn.write_text("#!/bin/sh\nexit 133\n")
    stillborn.chmod(0o755)
    folder = temp_folder / ("x" * (MAX_TEMP_FOLDER - len(str(temp_folder))))
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))

    with pytest.raises(EnvError, match=r"TMPDIR is '/tmp/.*xx', 63 bytes, .* at most 62"):
        Browser(executable=str(stillborn))

    roomy = folder.with_name(folder.name[:-1])
    roomy.mkdir()
    monkeypatch.setenv("TMPDIR", str(roomy))
    Browser().close()
    with pytest.raises(EnvError, match="waiting for the browser to start") as caught:
        Browser(executable=str(stillborn))
    assert "TMPDIR" not in str(caught.value)


def test_use_after_close_is_an_error() -> None:
    browser = Browser()
    env = MiniWob(browser=browser)
    browser.close()

    with pytest.raises(EnvError, match="the browser is closed"):
        env.reset("click-test", seed=0)


def test_named_executable_that_is_missing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EnvError, match="the argument executable names '/no/chromium'"):
        MiniWob(executable="/no/chromium")

    monkeypatch.setenv(EXECUTABLE_VARIABLE, "/no/browser")
    with pytest.raises(EnvError, match=f"{EXECUTABLE_VARIABLE} names '/no/browser'"):
        MiniWob()


def test_no_browser_at_all_tells_where_it_looked(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as empty:
        monkeypatch.setenv("PATH", empty)
        monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", empty)
        monkeypatch.delenv(EXECUTABLE_VARIABLE, raising=False)

        with pytest.raises(EnvError, match="no Chromium: looked for") as caught:
            MiniWob()

    for words in (EXECUTABLE_VARIABLE, *EXECUTABLE_NAMES, "apt-get install", "playwright install"):
        assert words in str(caught.value)


def test_browser_and_executable_together_is_a_value_error(browser: Browser) -> None:
    with pytest.raises(ValueError, match="not both"):
        MiniWob(browser=browser, executable="chromium")


def test_live_recording_equals_the_one_that_is_shipped(env: MiniWob, tmp_path: Path) -> None:
    shipped = read_recording(Recorded.builtin().path("enter-text", 2000))

    path = record(env, "enter-text", 2000, depth=shipped.header.depth, folder=tmp_path, verify=3)

    assert read_recording(path).states == shipped.states


def test_click_after_a_scroll_reaches_its_element_each_time(env: MiniWob) -> None:
    # A menu that takes its item from the last hover: scrolling moves items under a resting mouse.
    screen = env.reset("use-autocomplete", seed=2000)
    typing = next(action for action in env.candidates() if action.kind == "type")
    env.step(typing)
    items = [action for action in env.candidates() if action.target[0] == "li"]
    assert len(items) > 5

    for item in items * 2:
        env.reset("use-autocomplete", seed=2000)
        env.step(typing)
        result = env.step(item)

        assert f'has "{item.target[1]}"' in result.observation.text
    assert screen.instruction.startswith("Enter an item")
