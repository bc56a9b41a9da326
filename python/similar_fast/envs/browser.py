"""A Chromium, its pages, and what a page can be asked to do.

Playwright starts the browser, notices its death and clears up behind it; the hot path goes through
the raw DevTools session that Playwright hands out. One background thread runs the one event loop
of a browser, so that any thread can use it, inside a running asyncio loop as well.
"""

import asyncio
import atexit
import base64
import contextlib
import logging
import os
import shutil
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from similar_fast.errors import EnvError

if TYPE_CHECKING:
    from playwright.async_api import Browser as PlaywrightBrowser
    from playwright.async_api import CDPSession, Playwright
    from playwright.async_api import Page as PlaywrightPage

__all__ = ["EXECUTABLE_VARIABLE", "Browser", "Page", "PageLostError", "find_chromium"]

EXECUTABLE_VARIABLE = "SIMILAR_FAST_CHROMIUM"
# The headless shell first: a page opens for a fifth of the CPU time, in 0.6 of the memory.
EXECUTABLE_NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
# The sandbox needs rights that containers lack; the pages are the package's own files.
PROFILE = "--user-data-dir="
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--allow-file-access-from-files",
    "--mute-audio",
    "--enable-automation",  # lets the browser tell where its profile is
)
_NO_CHROMIUM = (
    f"no Chromium: looked for {EXECUTABLE_VARIABLE}, {', '.join(EXECUTABLE_NAMES)} on PATH, and "
    "Playwright's own; install one with `apt-get install chromium-headless-shell` (Debian) or "
    "`playwright install --only-shell chromium`"
)
CLOSE_TIMEOUT_S = 5.0
# Chromium puts org.chromium.Chromium.XXXXXX/SingletonSocket there; a socket's path has 107 bytes.
MAX_TEMP_FOLDER = 62

logger = logging.getLogger(__name__)
T = TypeVar("T")


class PageLostError(EnvError):
    """The browser or the page died; a new page can be opened."""


def find_chromium(executable: str | None = None) -> str | None:
    """The path of the system's Chromium, or None where only Playwright's own could be left.

    Args:
        executable: A path or a name on PATH; without it the variable `SIMILAR_FAST_CHROMIUM`,
            then `chromium-headless-shell`, `chromium`, `chromium-browser`, `google-chrome` on PATH.

    Raises:
        EnvError: `executable`, or what the variable names, is no program.
    """
    for source, named in (
        ("the argument executable", executable),
        (EXECUTABLE_VARIABLE, os.environ.get(EXECUTABLE_VARIABLE)),
    ):
        if named:
            found = shutil.which(named)
            if found is None:
                raise EnvError(f"{source} names {named!r}, which is no program that can be run")
            return found
    return next(filter(None, map(shutil.which, EXECUTABLE_NAMES)), None)


class Browser:
    """One Chromium with any number of pages; any thread may use it.

    Args:
        executable: As for `find_chromium`.
        timeout_s: Seconds that starting the browser may take.

    Raises:
        EnvError: There is no Chromium, or it did not start.
        ImportError: Playwright is not installed.

    Example:
        >>> with Browser() as browser:  # doctest: +SKIP
        ...     page = browser.new_page(width=332, height=214)
        ...     page.navigate("about:blank")
        ...     page.evaluate("6 * 7")
        42
    """

    def __init__(self, *, executable: str | None = None, timeout_s: float = 60.0) -> None:
        try:
            import playwright.async_api  # noqa: F401, PLC0415  # an extra
        except ImportError as err:
            raise ImportError('a browser needs `pip install "similar-fast[envs]"`') from err
        self._executable = find_chromium(executable)
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._is_closed = False
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(lambda _, what: logger.debug("in the loop: %s", what))
        self._thread = threading.Thread(target=self._loop.run_forever, name="browser", daemon=True)
        self._thread.start()
        self._playwright: Playwright | None = None
        self._browser: PlaywrightBrowser | None = None
        self._folders: tuple[Path, ...] = ()
        _open_browsers.add(self)
        try:
            self._run(self._launch(), timeout_s, "the browser to start")
        except BaseException:
            self.close()
            raise

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
    def version(self) -> str:
        """The browser's version, as in `156.0.8078.79`."""
        return "" if self._browser is None else self._browser.version

    @property
    def is_alive(self) -> bool:
        """Whether the browser answers for all that is known."""
        return self._browser is not None and self._browser.is_connected()

    def new_page(
        self, *, width: int, height: int, scripts: Sequence[str] = (), timeout_s: float = 30.0
    ) -> "Page":
        """An empty page with a context (cookies, storage) of its own.

        A browser that has died is started again first.

        Args:
            width: Pixels.
            height: Pixels.
            scripts: Run in this order before a document's own scripts, in every document.
            timeout_s: Seconds that each later operation of the page may take.

        Raises:
            EnvError: The browser is closed, or cannot be started again.
        """
        with self._lock:
            if self._is_closed:
                raise EnvError("the browser is closed")
            if self.is_alive:
                # Where Playwright's own driver died, the browser seems alive until it is asked.
                with contextlib.suppress(PageLostError):
                    return self._open_page(width, height, scripts, timeout_s)
            logger.warning("the browser died; starting it again")
            self._run(self._shut_down(), 3 * CLOSE_TIMEOUT_S, "the dead browser to go")
            self._run(self._launch(), self._timeout_s, "the browser to start again")
            return self._open_page(width, height, scripts, timeout_s)

    def _open_page(
        self, width: int, height: int, scripts: Sequence[str], timeout_s: float
    ) -> "Page":
        opening = self._open(width, height, scripts)
        page, session = self._run(opening, self._timeout_s, "a new page")
        return Page(self._run, page, session, timeout_s)

    def close(self) -> None:
        """Ends the browser and its thread; a second call does nothing."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        _open_browsers.discard(self)
        with contextlib.suppress(EnvError):
            self._run(self._shut_down(), 3 * CLOSE_TIMEOUT_S, "the browser to close")
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSE_TIMEOUT_S)
        if not self._thread.is_alive():
            self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T], timeout_s: float, awaited: str) -> T:
        """Runs `work` on the browser's loop; a time-out or a lost page becomes an `EnvError`."""
        from playwright.async_api import Error  # noqa: PLC0415  # an extra

        if self._loop.is_closed():
            work.close()
            raise EnvError("the browser is closed")
        future = asyncio.run_coroutine_threadsafe(_bounded(work, timeout_s), self._loop)
        try:
            return future.result()
        except TimeoutError as err:
            raise EnvError(f"no answer within {timeout_s:g} s: waited for {awaited}") from err
        except Exception as err:
            # Playwright says with a bare Exception that its driver is gone.
            if isinstance(err, Error) or type(err) is Exception:
                message = (str(err) or type(err).__name__).splitlines()[0]
                raise PageLostError(f"lost while waiting for {awaited}: {message}") from err
            raise

    async def _launch(self) -> None:
        from playwright.async_api import Error, async_playwright  # noqa: PLC0415  # an extra

        self._playwright = await async_playwright().start()
        chromium = self._playwright.chromium
        try:
            self._browser = await chromium.launch(
                executable_path=self._executable,
                args=list(FLAGS),
                handle_sigint=False,
                handle_sigterm=False,
                handle_sighup=False,
            )
        except Error as err:
            if "Executable doesn't exist" in str(err):
                raise EnvError(_NO_CHROMIUM) from err
            folder = os.environ.get("TMPDIR", "")
            if len(os.fsencode(folder)) <= MAX_TEMP_FOLDER:
                raise
            raise EnvError(
                f"Chromium did not start; TMPDIR is {folder!r}, {len(os.fsencode(folder))} bytes, "
                f"and Chromium's socket has no room there: expected at most {MAX_TEMP_FOLDER}"
            ) from err
        self._folders = await _folders_of(self._browser)

    async def _open(
        self, width: int, height: int, scripts: Sequence[str]
    ) -> "tuple[PlaywrightPage, CDPSession]":
        assert self._browser is not None, "launched in __init__. This is a bug."  # noqa: S101
        context = await self._browser.new_context(
            viewport={"width": width, "height": height}, locale="en-US", timezone_id="UTC"
        )
        page = await context.new_page()
        session = await context.new_cdp_session(page)
        await session.send("Page.enable")
        for script in scripts:
            await session.send("Page.addScriptToEvaluateOnNewDocument", {"source": script})
        return page, session

    async def _shut_down(self) -> None:
        browser, self._browser = self._browser, None
        playwright, self._playwright = self._playwright, None
        if browser is not None:
            await _finish(browser.close)
        if playwright is not None:
            await _finish(playwright.stop)
        # They are gone already, unless Chromium or Playwright's driver was killed.
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)
        self._folders = ()


async def _folders_of(browser: "PlaywrightBrowser") -> tuple[Path, ...]:
    """The folders of a running browser: its profile, and the one that its lock points to."""
    session = await browser.new_browser_cdp_session()
    command = await session.send("Browser.getBrowserCommandLine")
    await session.detach()
    flags = [flag for flag in command["arguments"] if flag.startswith(PROFILE)]
    return _with_lock_folder(Path(flags[-1].removeprefix(PROFILE))) if flags else ()


def _with_lock_folder(profile: Path) -> tuple[Path, ...]:
    lock = profile / "SingletonSocket"
    return (profile, lock.readlink().parent) if lock.is_symlink() else (profile,)


async def _bounded(work: Coroutine[Any, Any, T], timeout_s: float) -> T:
    async with asyncio.timeout(timeout_s):
        return await work


async def _finish(end: Callable[[], Awaitable[None]]) -> None:
    """Awaits an ending; what is dead already may answer with any error, or not at all."""
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await end()
    except Exception as err:  # noqa: BLE001  # nothing is left to save
        logger.debug("while closing: %r", err)


class Page:
    """One page of a browser; for one thread at a time. `Browser.new_page` makes it.

    Every method raises `PageLostError` when the page or its browser has died, and `EnvError` when
    there is no answer in time; after the latter the page is of no more use.
    """

    def __init__(
        self,
        run: Callable[[Coroutine[Any, Any, Any], float, str], Any],
        page: "PlaywrightPage",
        session: "CDPSession",
        timeout_s: float,
    ) -> None:
        self._run = run
        self._page = page
        self._session = session
        self._timeout_s = timeout_s
        self._load: asyncio.Future[None] | None = None
        session.on("Page.loadEventFired", lambda _: self._end_load(None))
        page.on("crash", lambda _: self._end_load("the page crashed"))
        page.on("close", lambda _: self._end_load("the page is closed"))

    def navigate(self, url: str) -> None:
        """Goes to `url` and waits until it is loaded."""
        self._run(self._navigate(url), self._timeout_s, f"{url} to load")

    def evaluate(self, expression: str, *, awaited: str = "the page's script") -> Any:  # noqa: ANN401  # as JSON
        """The value of a JavaScript expression; a promise is awaited.

        Raises:
            EnvError: The script threw an error.
        """
        return self._run(self._evaluate(expression), self._timeout_s, awaited)

    def click(self, x: float, y: float) -> None:
        """Presses and releases the left mouse button at (x, y), in pixels of the viewport."""
        place = {"x": x, "y": y}
        button = {**place, "button": "left", "clickCount": 1}
        events = [
            {"type": "mouseMoved", **place},
            {"type": "mousePressed", "buttons": 1, **button},
            {"type": "mouseReleased", **button},
        ]
        self._dispatch("Input.dispatchMouseEvent", events, "a click to be handled")

    def move_mouse(self, x: float, y: float) -> None:
        """Moves the mouse to (x, y), in pixels of the viewport."""
        events = [{"type": "mouseMoved", "x": x, "y": y}]
        self._dispatch("Input.dispatchMouseEvent", events, "a mouse move to be handled")

    def type_text(self, text: str) -> None:
        """Puts `text` in at the caret; the last character comes by a key, with all its events.

        Raises:
            ValueError: `text` is empty.
        """
        if not text:
            raise ValueError("the text to type is empty")
        if text[:-1]:
            self._dispatch("Input.insertText", [{"text": text[:-1]}], "text to be inserted")
        key = {"key": text[-1], "text": text[-1]}
        events = [{"type": "keyDown", **key}, {"type": "keyUp", "key": text[-1]}]
        self._dispatch("Input.dispatchKeyEvent", events, "a key to be handled")

    def screenshot(self) -> bytes:
        """The viewport as PNG bytes."""
        work = self._session.send("Page.captureScreenshot", {"format": "png"})
        answer: Mapping[str, str] = self._run(_as_coroutine(work), self._timeout_s, "a picture")
        return base64.b64decode(answer["data"])

    def close(self) -> None:
        """Closes the page and its context; one that hangs or is dead is left to the browser."""
        with contextlib.suppress(EnvError):
            self._run(_finish(self._page.context.close), 2 * CLOSE_TIMEOUT_S, "the page to close")

    def _dispatch(self, method: str, events: Sequence[Mapping[str, Any]], awaited: str) -> None:
        work = (self._session.send(method, dict(event)) for event in events)
        self._run(_together(*work), self._timeout_s, awaited)

    def _end_load(self, problem: str | None) -> None:
        if self._load is None or self._load.done():
            return
        if problem is None:
            self._load.set_result(None)
        else:
            self._load.set_exception(PageLostError(problem))

    async def _navigate(self, url: str) -> None:
        self._load = asyncio.get_running_loop().create_future()
        answer = await self._session.send("Page.navigate", {"url": url})
        if "errorText" in answer:
            raise EnvError(f"{url} cannot be opened: {answer['errorText']}")
        await self._load

    async def _evaluate(self, expression: str) -> Any:  # noqa: ANN401  # as JSON
        order = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        answer = await self._session.send("Runtime.evaluate", order)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            thrown = details.get("exception", {}).get("description", details.get("text"))
            raise EnvError(f"a script of the page failed: {thrown}")
        return answer["result"].get("value")


async def _together(*work: Awaitable[Any]) -> None:
    await asyncio.gather(*work)


async def _as_coroutine(work: Awaitable[T]) -> T:
    return await work


_open_browsers: "weakref.WeakSet[Browser]" = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for browser in list(_open_browsers):
        browser.close()
