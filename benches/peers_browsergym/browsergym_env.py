"""BrowserGym's MiniWoB++ as an `Environment`; runs where BrowserGym is installed.

Nothing of BrowserGym is changed: its defaults, its waits, its picture with every observation.
Only where Playwright's own Chromium is not there, its browsers are started from another path.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from similar_fast.proposers import RuleProposer, describe_screen
from similar_fast.types import Action, ActionKind, Element, Observation, StepResult

ROLES: dict[str, ActionKind] = {"button": "click", "checkbox": "click", "textbox": "type"}
"""What the elements of the timed tasks are."""


class BrowserGymMiniWob:
    """One environment a task, made when it is first wanted, as `gym.make` gives it.

    Args:
        pages: Address of the folder with MiniWoB++'s pages, with a slash at its end.
        chromium: Chromium's path for a Playwright that has none of its own.
    """

    def __init__(self, pages: str, chromium: str) -> None:
        os.environ["MINIWOB_URL"] = pages
        self.chromium = _use_chromium(chromium)
        self._envs: dict[str, Any] = {}
        self._env: Any = None
        self._bids: dict[tuple[str, str, int], str] = {}
        self._screen: Observation | None = None
        self._proposer = RuleProposer()

    @property
    def name(self) -> str:
        return "browsergym"

    @property
    def relaunches(self) -> int:
        return 0

    def reset(self, task: str, *, seed: int) -> Observation:
        import browsergym.miniwob  # noqa: F401, PLC0415  # registers the tasks
        import gymnasium  # noqa: PLC0415  # as above

        if task not in self._envs:
            self._envs[task] = gymnasium.make(f"browsergym/miniwob.{task}")
        self._env = self._envs[task]
        observed, _ = self._env.reset(seed=seed)
        return self._look(observed, is_done=False)

    def candidates(self) -> tuple[Action, ...]:
        return () if self._screen is None else self._proposer.propose(self._screen)

    def step(self, action: Action) -> StepResult:
        bid = self._bids[action.target]
        call = f"click({bid!r})"
        if action.kind == "type":
            call = f"fill({bid!r}, {action.argument!r})"
        observed, _, is_done, _, info = self._env.step(call)
        is_solved = info["task_info"]["RAW_REWARD_GLOBAL"] == 1
        screen = self._look(observed, is_done=is_done)
        return StepResult(screen, is_done, is_solved, observed["last_action_error"] or None)

    def close(self) -> None:
        for env in self._envs.values():
            env.close()
        self._envs.clear()

    def _look(self, observed: dict[str, Any], *, is_done: bool) -> Observation:
        pieces: list[tuple[Element | None, str]] = []
        self._bids = {}
        for node, label in _in_order(observed["axtree_object"]["nodes"]):
            if node["role"]["value"] == "StaticText":
                pieces.append((None, label))
                continue
            element = _element(node, label, self._bids)
            self._bids[element.key] = node["browsergym_id"]
            pieces.append((element, ""))
        text = describe_screen(pieces)
        elements = tuple(element for element, _ in pieces if element is not None)
        digest = hashlib.sha256(json.dumps([observed["goal"], text, is_done]).encode()).hexdigest()
        shown = () if is_done else elements
        self._screen = Observation(observed["goal"], text, shown, digest[:16])
        return self._screen


def _in_order(nodes: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], str]]:
    """Texts and elements in document order, each with its name or the text before it."""
    by_id = {node["nodeId"]: node for node in nodes}
    left, label = [nodes[0]["nodeId"]], ""
    while left:
        node = by_id[left.pop()]
        left += reversed([child for child in node.get("childIds", []) if child in by_id])
        role = node.get("role", {}).get("value")
        name = node.get("name", {}).get("value", "")
        if role == "StaticText":
            label = name
            yield node, name
        elif role in ROLES and "browsergym_id" in node:
            yield node, name or label


def _element(node: dict[str, Any], name: str, known: dict[tuple[str, str, int], str]) -> Element:
    role = node["role"]["value"]
    told = {p["name"]: p["value"].get("value") for p in node.get("properties", [])}
    return Element(
        role,
        name,
        sum(key[:2] == (role, name) for key in known),
        ROLES[role],
        value=str(node.get("value", {}).get("value", "")) if ROLES[role] == "type" else "",
        is_checked=told["checked"] == "true" if "checked" in told else None,
    )


def _use_chromium(path: str) -> str:
    """The Chromium that BrowserGym's Playwright starts: its own, or else the one at `path`."""
    import browsergym.core  # noqa: PLC0415  # only here is it installed
    import playwright.sync_api  # noqa: PLC0415  # as above

    own = browsergym.core._get_global_playwright().chromium.executable_path  # noqa: SLF001  # theirs
    if Path(own).exists():
        return str(own)
    launch = playwright.sync_api.BrowserType.launch

    def launch_from_path(self: Any, **options: Any) -> Any:  # noqa: ANN401  # passed on
        return launch(self, **{"executable_path": path, **options})

    # BrowserGym's chat window is a browser of its own, which takes no path.
    playwright.sync_api.BrowserType.launch = launch_from_path
    return path
