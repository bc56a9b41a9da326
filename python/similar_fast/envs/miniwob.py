"""MiniWoB++: web tasks of one page each, run from the files of the `miniwob` package.

The same task and seed with the same actions always lead to the same screens: each reset makes a new
frame, time stands still but for what each step lets pass, chance is seeded, images are loaded
before anything is looked at, and actions find their element by (role, name, nth).
"""

import hashlib
import importlib.util
import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from similar_fast.envs.browser import Browser, Page, PageLostError
from similar_fast.envs.whole_page import whole_page
from similar_fast.errors import EnvError
from similar_fast.proposers import RuleProposer, describe_screen
from similar_fast.protocols import Proposer
from similar_fast.types import Action, Element, Observation, StepResult

__all__ = ["HELD_OUT_TASKS", "TRAIN_TASKS", "MiniWob", "screen_digest", "tasks"]

TRAIN_TASKS = (
    "click-tab-2",
    "click-tab-2-hard",
    "click-checkboxes",
    "click-option",
    "click-menu-2",
    "choose-list",
    "enter-text",
    "login-user",
    "use-autocomplete",
    "email-inbox-star-reply",
    "social-media",
    "navigate-tree",
)
"""The tasks to collect labels on."""

HELD_OUT_TASKS = (
    "click-checkboxes-transfer",
    "enter-password",
    "login-user-popup",
    "email-inbox",
    "click-collapsible-2",
    "search-engine",
    "phone-book",
    "click-button-sequence",
)
"""The tasks to judge on; no label comes from them."""

WIDTH, HEIGHT = 332, 214
FOLDER = Path(__file__).parent / "page"
SCRIPTS = ("clock.js", "screen.js", "episode.js")
MAX_RELAUNCHES = 3
MAX_PAGE_RESETS = 100  # browser and driver keep a little of every frame that a page ever had
MAX_HOVERS = 10

logger = logging.getLogger(__name__)
T = TypeVar("T")


@cache
def _pages() -> dict[str, Path]:
    """Each task's page."""
    package = importlib.util.find_spec("miniwob")
    if package is None or package.origin is None:
        raise ImportError('MiniWoB++ needs `pip install "similar-fast[envs]"`')
    folder = Path(package.origin).parent / "html" / "miniwob"
    return {path.stem: path for path in sorted(folder.glob("*.html"))}


@cache
def whole_page_of(task: str) -> str | None:
    """The whole page of a task, as a JSON text; None where it has to be opened by its address."""
    page = whole_page(_pages()[task])
    return None if page is None else json.dumps(page)


def tasks() -> tuple[str, ...]:
    """The names of the package's tasks, sorted.

    Raises:
        ImportError: The `miniwob` package is not installed.
    """
    return tuple(_pages())


def screen_digest(instruction: str, text: str, *, is_done: bool) -> str:
    """16 hex characters (64 bits of SHA-256) that stand for a screen.

    No reward goes in, so that a search may compare digests.
    """
    return _digest(instruction, text, is_done)


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class _Screen:
    """What the page told at one moment."""

    observation: Observation
    is_done: bool
    raw_reward: float
    replay_digest: str


class MiniWob:
    """The MiniWoB++ tasks as an `Environment`; for one thread at a time.

    Success is a raw reward of exactly 1: some tasks give a part of it for a part of the work.

    Args:
        browser: Where to open the page; without it a browser of its own, closed with this object.
        executable: Chromium's path, for a browser of its own.
        timeout_s: Seconds that each answer of the page may take.
        proposer: What makes the candidates.

    Raises:
        EnvError: There is no Chromium.
        ImportError: The `envs` extra is not installed.

    Example:
        >>> with MiniWob() as env:  # doctest: +SKIP
        ...     screen = env.reset("click-test", seed=0)
        ...     result = env.step(env.candidates()[0])
        >>> result.success  # doctest: +SKIP
        True
    """

    def __init__(
        self,
        *,
        browser: Browser | None = None,
        executable: str | None = None,
        timeout_s: float = 30.0,
        proposer: Proposer | None = None,
    ) -> None:
        _pages()
        if browser is not None and executable is not None:
            raise ValueError("give a browser or an executable, not both")
        self._browser = browser or Browser(executable=executable)
        self._owns_browser = browser is None
        self._timeout_s = timeout_s
        self._proposer = proposer or RuleProposer()
        self._page: Page | None = None
        self._page_resets = 0
        self._kept: set[str] = set()
        self._episode: tuple[str, int] | None = None
        self._actions: list[Action] = []
        self._screens: list[_Screen] = []
        self._moment = 0
        self._relaunches = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def name(self) -> str:
        """`miniwob`."""
        return "miniwob"

    @property
    def relaunches(self) -> int:
        """How often the page or its browser died under this object and was brought back."""
        return self._relaunches

    @property
    def versions(self) -> dict[str, str]:
        """The version of each program that takes part."""
        packages = {name: version(name) for name in ("miniwob", "playwright")}
        return {**packages, "chromium": self._browser.version}

    @property
    def replay_digest(self) -> str:
        """Fingerprint of (instruction, text, done, raw reward), to check a replay by.

        It tells the reward, so no search may read it: that is what `Observation.digest` is for.

        Raises:
            EnvError: No episode has begun.
        """
        return self._screen.replay_digest

    def reset(self, task: str, *, seed: int) -> Observation:
        """The first screen of `task` with `seed`.

        Raises:
            EnvError: The task is unknown, or the page does not come up.
        """
        if task not in _pages():
            close = ", ".join(get_close_matches(task, _pages(), n=3)) or "none"
            raise EnvError(f"unknown MiniWoB++ task {task!r}; close matches: {close}")
        self._forget()
        self._page_resets += 1
        if self._page_resets > MAX_PAGE_RESETS:
            self._discard_page()
        screen = self._with_page(lambda page: self._start(page, task, seed))
        self._episode = (task, seed)
        self._screens = [screen]
        return screen.observation

    def candidates(self) -> tuple[Action, ...]:
        """What the proposer offers on the current screen; nothing when the episode is done."""
        if self._screen.is_done:
            return ()
        return tuple(self._proposer.propose(self._screen.observation, self._actions))

    def step(self, action: Action) -> StepResult:
        """Carries `action` out with trusted mouse and key events.

        An option of a native list is the exception: it is chosen by a script. Where the element
        is not there, or something stands in front of it, `error` says so and nothing has changed.

        Raises:
            EnvError: No episode is running, or the page hangs.
            ValueError: `action` is to type or select nothing.
        """
        if self._screen.is_done:
            raise EnvError("the episode is done; reset before the next step")
        if action.kind != "click" and not action.argument:
            raise ValueError(f"a {action.kind} action needs an argument, got {action.argument!r}")
        before = self._screen
        screen, error = self._with_page(lambda page: self._carry_out(page, before, action))
        self._actions.append(action)
        self._screens.append(screen)
        success = screen.is_done and screen.raw_reward == 1
        return StepResult(screen.observation, screen.is_done, success, error)

    def close(self) -> None:
        """Closes the page, and the browser where it is this object's own."""
        self._forget()
        page, self._page = self._page, None
        if self._owns_browser:
            self._browser.close()
        elif page is not None:
            page.close()

    @property
    def _screen(self) -> _Screen:
        if not self._screens:
            raise EnvError("no episode is running; reset first")
        return self._screens[-1]

    def _forget(self) -> None:
        self._moment += 1
        self._episode, self._actions, self._screens = None, [], []

    def _start(self, page: Page, task: str, seed: int) -> _Screen:
        page.move_mouse(0, 0)
        page.evaluate(self._opening(page, task), awaited=f"{task} to load")
        return self._screen_of(_report(page, f"start({json.dumps(seed)})"))

    def _opening(self, page: Page, task: str) -> str:
        """The call that opens a task in a new frame; its text is handed over once for each page."""
        name, text = json.dumps(task), whole_page_of(task)
        if text is None:
            return f"openTask({json.dumps(_pages()[task].as_uri())})"
        if task not in self._kept:
            page.evaluate(f"keepTask({name}, {text})")
            self._kept.add(task)
        return f"writeTask({name})"

    def _settle(self, page: Page) -> _Screen:
        """Lets the page come to rest, also under the mouse."""
        for _ in range(MAX_HOVERS):
            report = _report(page, "settle()")
            place = report["staleHover"]
            if place is None:
                return self._screen_of(report)
            page.move_mouse(place["x"], place["y"])
        raise EnvError(f"the page still changes under the mouse after {MAX_HOVERS} looks")

    def _screen_of(self, report: Mapping[str, Any]) -> _Screen:
        self._moment += 1
        instruction, is_done = report["instruction"], report["isDone"]
        pieces, elements = _pieces(report["items"])
        text = describe_screen(pieces)
        observation = Observation(
            instruction,
            text,
            () if is_done else elements,
            screen_digest(instruction, text, is_done=is_done),
            self._screenshot(self._moment),
        )
        raw_reward = report["rawReward"]
        replay_digest = _digest(instruction, text, is_done, raw_reward)
        return _Screen(observation, is_done, raw_reward, replay_digest)

    def _screenshot(self, moment: int) -> Callable[[], bytes]:
        def take() -> bytes:
            if moment != self._moment:
                raise EnvError("the environment has moved on; this screen is no longer shown")
            return self._with_page(Page.screenshot)

        return take

    def _carry_out(self, page: Page, screen: _Screen, action: Action) -> tuple[_Screen, str | None]:
        keys = [element.key for element in screen.observation.elements]
        if action.target not in keys:
            role, name, nth = action.target
            return screen, f'there is no {role} "{name}" #{nth + 1} on this screen'
        index = keys.index(action.target)
        element = screen.observation.elements[index]
        if action.kind not in ("click", element.kind):
            return screen, f'{element.role} "{element.name}" takes no {action.kind}'
        if action.kind == "select":
            error = self._select(page, index, action)
        else:
            place = page.evaluate(f"frames[0].__screen.locate({index})")
            if "error" in place:
                return screen, f'{element.role} "{element.name}": {place["error"]}'
            if (rest := place["staleHover"]) is not None:
                # The page must learn of it before the mouse moves on, not at its next frame.
                page.move_mouse(rest["x"], rest["y"])
            page.click(place["x"], place["y"])
            error = self._type(page, index, action) if action.kind == "type" else None
        return self._settle(page), error

    @staticmethod
    def _select(page: Page, index: int, action: Action) -> str | None:
        option = json.dumps(action.argument)
        if page.evaluate(f"frames[0].__screen.choose({index}, {option})"):
            return None
        return f"there is no option {option} to select"

    @staticmethod
    def _type(page: Page, index: int, action: Action) -> str | None:
        assert action.argument is not None  # noqa: S101  # checked by step
        if not page.evaluate(f"frames[0].__screen.selectText({index})"):
            return f'{action.target[0]} "{action.target[1]}" did not take the keyboard'
        page.type_text(action.argument)
        return None

    def _with_page(self, work: Callable[[Page], T]) -> T:
        """Does `work`; where the page dies, brings the episode back and does it again."""
        for _ in range(1 + MAX_RELAUNCHES):
            try:
                return work(self._page or self._open_page())
            except PageLostError as err:
                logger.warning("%s; bringing the episode back", err)
                self._relaunches += 1
                self._discard_page()
            except EnvError:
                # It hangs or its script failed: neither page nor episode are of any more use.
                self._discard_page()
                self._forget()
                raise
        raise EnvError(f"the page died {1 + MAX_RELAUNCHES} times in a row")

    def _open_page(self) -> Page:
        """A new page, with the running episode played up to where it was."""
        self._page_resets = 1
        page = self._page = self._browser.new_page(
            width=WIDTH, height=HEIGHT, scripts=_scripts(), timeout_s=self._timeout_s
        )
        self._kept.clear()
        page.navigate(next(iter(_pages().values())).as_uri())
        page.evaluate(f"document.open(), document.write({_host()}), document.close()")
        if self._episode is None:
            return page
        moment = self._moment
        screen = self._start(page, *self._episode)
        for step, (action, before) in enumerate(
            zip([*self._actions, None], self._screens, strict=True)
        ):
            if screen.replay_digest != before.replay_digest:
                raise EnvError(f"the episode cannot be brought back: step {step} led elsewhere")
            if action is not None:
                screen, _ = self._carry_out(page, screen, action)
        self._moment = moment
        return page

    def _discard_page(self) -> None:
        page, self._page = self._page, None
        if page is not None:
            page.close()


def _report(page: Page, call: str) -> dict[str, Any]:
    answer = page.evaluate(f"frames[0].__episode.{call}", awaited="the page to come to rest")
    report: dict[str, Any] = json.loads(answer)
    return report


def _pieces(
    items: Sequence[Mapping[str, Any]],
) -> tuple[list[tuple[Element | None, str]], tuple[Element, ...]]:
    """The page's report as pieces for `describe_screen`, and the elements that can be acted on."""
    pieces: list[tuple[Element | None, str]] = []
    elements: list[Element] = []
    seen: Counter[tuple[str, str]] = Counter()
    for item in items:
        if "role" not in item:
            pieces.append((None, item["text"]))
        elif item["isDisabled"]:
            pieces.append((None, f'{item["role"]} "{item["name"]}" (disabled)'))
        else:
            key = (item["role"], item["name"])
            element = _element(item, seen[key])
            seen[key] += 1
            elements.append(element)
            pieces.append((element, item["state"]))
    return pieces, tuple(elements)


def _element(item: Mapping[str, Any], nth: int) -> Element:
    return Element(
        role=item["role"],
        name=item["name"],
        nth=nth,
        kind=item["kind"],
        context=item["context"],
        value=item.get("value", ""),
        is_checked=item.get("isChecked"),
        is_focused=item["isFocused"],
        is_readonly=item.get("isReadonly", False),
        options=tuple(item.get("options", ())),
        selected=tuple(item.get("selected", ())),
        is_multiple=item.get("isMultiple", False),
    )


@cache
def _host() -> str:
    """The page around a task's frame, as a JSON text."""
    return json.dumps((FOLDER / "host.html").read_text(encoding="utf-8"))


@cache
def _scripts() -> tuple[str, ...]:
    return tuple((FOLDER / name).read_text(encoding="utf-8") for name in SCRIPTS)
