import base64
import json
import math
import re
import shutil
import struct
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright
from similar_fast.dimensions import DIMENSIONS
from similar_fast.report import render_report, write_report
from similar_fast.types import Action, Score, SearchResult, SearchTreeNode

HOSTILE = '</script><img src=x onerror="window.hacked=1"><!--\u2028\u2029{{data}} & \ud800'


def make_png(color: tuple[int, int, int]) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + chunk(b"IDAT", zlib.compress(b"\0" + bytes(color)))
        + chunk(b"IEND", b"")
    )


RED, BLUE = make_png((255, 0, 0)), make_png((0, 0, 255))
DIMS = (0.25, 0.5, -1.5, 0.75, 1.0)


def make_result(nodes: tuple[SearchTreeNode, ...] = ()) -> SearchResult:
    return SearchResult(
        task="login-user",
        seed=2000,
        instruction="Enter the username and press login.",
        actions=(Action("click", ("button", "Login", 0)), Action("click", ("link", "Next", 1))),
        scores=(Score(0.625, DIMS), Score(0.5, DIMS)),
        success=True,
        is_done=True,
        num_simulations=10,
        env_steps=1234,
        resets=5,
        scorer_calls=6,
        scored_actions=7,
        diverged=8,
        relaunches=9,
        seconds=1.5,
        nodes=nodes,
    )


def small_tree() -> tuple[SearchTreeNode, ...]:
    def node(
        node_id: int,
        parent: int,
        action: str,
        visits: int,
        value: float,
        prior: float,
        **more: object,
    ) -> SearchTreeNode:
        score = None if node_id == 0 else Score(value + 0.125, DIMS)
        return SearchTreeNode(node_id, parent, action, visits, value, prior, score, **more)  # type: ignore[arg-type]

    return (
        node(0, -1, "", 10, 0.4375, 1.0, text="first screen", is_chosen=True),
        node(
            1, 0, "click button", 6, 0.75, 0.5, text="second screen", is_chosen=True, screenshot=RED
        ),
        node(2, 0, HOSTILE, 3, 0.3125, 0.25, text=HOSTILE),
        node(3, 0, "never tried", 0, math.nan, 0.25),
        node(
            4,
            1,
            "finish",
            4,
            0.875,
            0.625,
            text="last screen",
            is_done=True,
            is_chosen=True,
            screenshot=BLUE,
        ),
        node(5, 1, "other", 1, -0.5, 0.375, text="second screen", screenshot=RED),
        node(6, 2, "deeper", 1, 0.1875, 1.0, text="second screen"),
    )


def wide_tree(count: int) -> tuple[SearchTreeNode, ...]:
    """Ten children a node, so about four levels at 10,000."""
    root = SearchTreeNode(0, -1, "", count, 0.5, 1.0, None, text="start", is_chosen=True)
    rest = (
        SearchTreeNode(
            i,
            (i - 1) // 10,
            f"act {i}",
            1,
            i / count,
            0.1,
            Score(i / count, DIMS),
            text=f"screen {i}",
        )
        for i in range(1, count)
    )
    return (root, *rest)


def read_data(page: str) -> dict[str, object]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    data: dict[str, object] = json.loads(found[1], parse_constant=pytest.fail)
    return data


def test_render_report_holds_every_number_of_the_result() -> None:
    result = make_result(small_tree())

    data = read_data(render_report(result))

    assert data["actions"] == ['click button "Login"', 'click link "Next" #2']
    assert data["scores"] == [{"total": s.total, "dims": list(DIMS)} for s in result.scores]
    assert [d["name"] for d in data["dimensions"]] == list(DIMENSIONS)
    assert data["cost"] == {
        name: getattr(result, name)
        for name in (
            "num_simulations",
            "env_steps",
            "resets",
            "scorer_calls",
            "scored_actions",
            "seconds",
            "relaunches",
            "diverged",
        )
    }
    for node, row in zip(result.nodes, data["nodes"], strict=True):
        assert (row["parent"], row["action"], row["visits"]) == (
            node.parent,
            node.action,
            node.visits,
        )
        assert (row["prior"], row["is_done"], row["is_chosen"]) == (
            node.prior,
            node.is_done,
            node.is_chosen,
        )
        assert row["value"] == ("nan" if math.isnan(node.value) else node.value)
        assert data["texts"][row["text"]] == node.text
        if node.screenshot is not None:
            assert base64.b64decode(data["screenshots"][row["screenshot"]]) == node.screenshot


def test_render_report_stores_a_repeated_screen_once() -> None:
    data = read_data(render_report(make_result(small_tree())))

    assert data["texts"].count("second screen") == 1
    assert len(data["screenshots"]) == 2


def test_render_report_escapes_hostile_text() -> None:
    plain = render_report(make_result(small_tree()))
    result = replace(make_result(small_tree()), task=HOSTILE, instruction=HOSTILE)

    page = render_report(result)

    assert page.isascii()
    assert page.lower().count("</script") == plain.lower().count("</script") == 2
    assert "<img" not in page
    assert "<!--" not in page
    assert read_data(page)["instruction"] == HOSTILE
    assert read_data(page)["title"] == HOSTILE


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_render_report_names_a_number_that_json_lacks(value: float) -> None:
    dims = (value, 0.0, 0.0, 0.0, 0.0)
    nodes = (SearchTreeNode(0, -1, "", 1, value, value, Score(value, dims)),)

    row = read_data(render_report(replace(make_result(nodes), seconds=value)))["nodes"][0]

    assert (
        row["value"]
        == row["prior"]
        == row["score"]["total"]
        == row["score"]["dims"][0]
        == str(value)
    )


@pytest.mark.parametrize(
    ("parents", "message"),
    [
        ((0,), "parent of node 0 must be -1, got 0"),
        ((-1, 7), r"parent of node 1 must be in \[0, 2\), got 7"),
        ((-1, 2, 1), "2 of 3 nodes hang on no root"),
    ],
)
def test_render_report_of_no_tree_raises(parents: tuple[int, ...], message: str) -> None:
    nodes = tuple(SearchTreeNode(i, p, "a", 1, 0.0, 1.0, None) for i, p in enumerate(parents))

    with pytest.raises(ValueError, match=message):
        render_report(make_result(nodes))


def test_render_report_of_misplaced_node_raises() -> None:
    nodes = (SearchTreeNode(3, -1, "", 1, 0.0, 1.0, None),)

    with pytest.raises(ValueError, match="node at place 0 must have that id, got 3"):
        render_report(make_result(nodes))


def test_write_report_replaces_the_file_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old", encoding="ascii")

    written = write_report(make_result(small_tree()), str(path), title="A title")

    assert written == path
    assert path.read_bytes().decode("ascii") == render_report(
        make_result(small_tree()), title="A title"
    )
    assert list(tmp_path.iterdir()) == [path]


def test_write_report_that_fails_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "report.html"
    path.write_text("old", encoding="ascii")

    def refuse(_self: Path, _target: Path) -> Path:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="disk full"):
        write_report(make_result(), path)

    assert path.read_text(encoding="ascii") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_write_report_into_missing_folder_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"folder .*nowhere does not exist"):
        write_report(make_result(), tmp_path / "nowhere" / "report.html")


@pytest.fixture(scope="module")
def browser_page() -> Iterator[Page]:
    chromium = shutil.which("chromium")
    assert chromium is not None, "these tests need Chromium: install the package chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(20_000)
        yield page
        browser.close()


@pytest.fixture
def faults(browser_page: Page) -> Iterator[list[str]]:
    """What the page complained of, and every request beyond the file itself."""
    found: list[str] = []

    def on_request(request: object) -> None:
        url = request.url  # type: ignore[attr-defined]
        if not url.startswith(("file:", "data:")):
            found.append(url)

    def on_error(error: object) -> None:
        found.append(str(error))

    def on_console(message: object) -> None:
        found.append(message.text)  # type: ignore[attr-defined]

    browser_page.on("request", on_request)
    browser_page.on("pageerror", on_error)
    browser_page.on("console", on_console)
    yield found
    browser_page.remove_listener("request", on_request)
    browser_page.remove_listener("pageerror", on_error)
    browser_page.remove_listener("console", on_console)


def open_report(page: Page, tmp_path: Path, result: SearchResult) -> None:
    page.goto(write_report(result, tmp_path / "report.html").as_uri())


def shown_nodes(page: Page) -> list[int]:
    return page.locator(".row[data-node]").evaluate_all(
        "rows => rows.map(r => Number(r.dataset.node))"
    )


def panel_number(page: Page, key: str) -> float:
    text = page.locator(f'#panel dd[data-key="{key}"]').inner_text()
    return float(text.replace("\u2212", "-").replace(",", ""))


@pytest.mark.browser
def test_click_shows_the_numbers_of_the_node(
    browser_page: Page, tmp_path: Path, faults: list[str]
) -> None:
    nodes = small_tree()
    open_report(browser_page, tmp_path, make_result(nodes))

    for node_id in (1, 4, 5):
        browser_page.locator(f'.row[data-node="{node_id}"] .what').click()

        node = nodes[node_id]
        assert node.score is not None
        assert browser_page.locator("#panel h3").inner_text() == node.action
        assert browser_page.locator("#panel pre").inner_text() == node.text
        assert panel_number(browser_page, "visits") == node.visits
        assert panel_number(browser_page, "value") == node.value
        assert panel_number(browser_page, "prior") == node.prior
        assert panel_number(browser_page, "total") == node.score.total
        for dimension, value in zip(DIMENSIONS, DIMS, strict=True):
            assert panel_number(browser_page, dimension) == value
    assert faults == []


@pytest.mark.browser
def test_header_tells_outcome_cost_and_actions(browser_page: Page, tmp_path: Path) -> None:
    open_report(browser_page, tmp_path, make_result(small_tree()))
    header, actions = (
        browser_page.locator("header").inner_text(),
        browser_page.locator("#actions").inner_text(),
    )

    assert browser_page.title() == "login-user"
    assert {"Solved", "10", "1,234", "5", "6", "7", "8", "9", "1.50"} <= set(header.split("\n"))
    assert 'click link "Next" #2' in actions
    assert all(dimension.capitalize() in actions for dimension in DIMENSIONS)
    assert "\u22121.500" in actions


@pytest.mark.browser
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"success": False}, "ended the episode without solving the task"),
        ({"success": False, "is_done": False}, "left the episode unfinished"),
        ({"success": False, "is_done": False, "actions": (), "scores": ()}, "committed no action"),
    ],
)
def test_failure_is_told_as_such(
    browser_page: Page, tmp_path: Path, change: dict[str, object], words: str
) -> None:
    open_report(browser_page, tmp_path, replace(make_result(), **change))  # type: ignore[arg-type]

    assert browser_page.locator("#badge").inner_text() == "Not solved"
    assert words in browser_page.locator("#outcome").inner_text()
    assert browser_page.locator("#no-tree").is_visible()
    assert not browser_page.locator("#tree").is_visible()


@pytest.mark.browser
def test_rows_open_and_close(browser_page: Page, tmp_path: Path) -> None:
    open_report(browser_page, tmp_path, make_result(small_tree()))
    assert shown_nodes(browser_page) == [
        0,
        1,
        4,
        5,
        2,
        3,
    ]  # the chosen path stands open, then visits
    assert browser_page.locator(".row.chosen").count() == 3
    assert browser_page.locator('.row[data-node="4"] .tag').inner_text() == "done"

    browser_page.locator('.row[data-node="1"] .twist').click()
    assert shown_nodes(browser_page) == [0, 1, 2, 3]
    browser_page.locator('.row[data-node="2"] .twist').click()
    assert shown_nodes(browser_page) == [0, 1, 2, 6, 3]
    browser_page.get_by_role("button", name="Expand all").click()
    assert shown_nodes(browser_page) == [0, 1, 4, 5, 2, 6, 3]
    browser_page.get_by_role("button", name="Collapse all").click()
    assert shown_nodes(browser_page) == [0]
    assert browser_page.locator("#count").inner_text() == "1 of 7 nodes shown"
    browser_page.get_by_role("button", name="Chosen path").click()
    assert shown_nodes(browser_page) == [0, 1, 4, 5, 2, 3]


@pytest.mark.browser
def test_keyboard_walks_the_tree(browser_page: Page, tmp_path: Path) -> None:
    open_report(browser_page, tmp_path, make_result(small_tree()))
    title = browser_page.locator("#panel h3")
    browser_page.locator('.row[tabindex="0"]').focus()

    pressed = []
    for key in (
        "ArrowUp",
        "ArrowLeft",
        "ArrowDown",
        "ArrowRight",
        "ArrowRight",
        "ArrowLeft",
        "Home",
        "End",
    ):
        browser_page.keyboard.press(key)
        pressed.append(title.inner_text())
    browser_page.keyboard.press("Enter")

    hostile = title.evaluate("(_, text) => text", HOSTILE.replace("\ud800", "\ufffd"))
    walked = [
        text if text in {"click button", "deeper", "First screen", "never tried"} else hostile
        for text in pressed
    ]
    assert walked[:3] == ["click button", "click button", hostile]
    assert walked[3:] == [hostile, "deeper", hostile, "First screen", "never tried"]
    assert shown_nodes(browser_page) == [0, 1, 2, 6, 3]


@pytest.mark.browser
def test_hostile_text_stays_text(browser_page: Page, tmp_path: Path, faults: list[str]) -> None:
    result = make_result(small_tree())
    actions = (Action("click", ("button", "", 0), text=HOSTILE),)
    hostile = replace(
        result, task=HOSTILE, instruction=HOSTILE, actions=actions, scores=result.scores[:1]
    )

    open_report(browser_page, tmp_path, hostile)
    browser_page.locator('.row[data-node="2"]').click()

    for place in (
        "#title",
        "#instruction",
        "#actions",
        "#panel h3",
        "#panel pre",
        ".row[data-node='2']",
    ):
        assert 'onerror="window.hacked=1"' in browser_page.locator(place).inner_text()
    assert browser_page.locator("img").count() == 0
    assert browser_page.evaluate("window.hacked") is None
    assert faults == []


@pytest.mark.browser
def test_policy_forbids_every_other_script(browser_page: Page, tmp_path: Path) -> None:
    path = write_report(make_result(small_tree()), tmp_path / "report.html")
    page = path.read_text(encoding="ascii")
    path.write_text(
        page.replace("</body>", "<script>window.hacked = 1</script></body>"), encoding="ascii"
    )

    browser_page.goto(path.as_uri())

    assert browser_page.locator("#count").inner_text() == "6 of 7 nodes shown"
    assert browser_page.evaluate("window.hacked") is None


@pytest.mark.browser
def test_screenshot_of_the_node_shows(browser_page: Page, tmp_path: Path) -> None:
    open_report(browser_page, tmp_path, make_result(small_tree()))

    browser_page.locator('.row[data-node="4"]').click()
    image = browser_page.locator("#panel img")

    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 1
    assert image.get_attribute("src") == "data:image/png;base64," + base64.b64encode(BLUE).decode()
    browser_page.locator('.row[data-node="2"]').click()
    assert image.count() == 0


@pytest.mark.browser
def test_ten_thousand_nodes_open_within_seconds(
    browser_page: Page, tmp_path: Path, faults: list[str]
) -> None:
    result = make_result(wide_tree(10_000))
    path = write_report(result, tmp_path / "report.html")

    started = time.perf_counter()
    browser_page.goto(path.as_uri())
    assert len(shown_nodes(browser_page)) == 11  # only the root stands open
    opened = time.perf_counter()
    browser_page.get_by_role("button", name="Expand all").click()
    assert browser_page.locator("#count").inner_text() == "10,000 of 10,000 nodes shown"
    expanded = time.perf_counter()

    assert opened - started < 10
    assert expanded - opened < 20
    assert faults == []


@pytest.mark.browser
def test_wide_and_deep_trees_stay_usable(
    browser_page: Page, tmp_path: Path, faults: list[str]
) -> None:
    wide = [SearchTreeNode(i, 0, f"act {i}", 0, 0.0, 0.0, Score(-i)) for i in range(1, 1001)]
    deep = [
        SearchTreeNode(i, i - 1 if i > 1001 else 0, f"act {i}", 1, 0.0, 1.0, None)
        for i in range(1001, 5001)
    ]
    root = SearchTreeNode(0, -1, "", 1, 0.0, 1.0, None)
    open_report(browser_page, tmp_path, make_result((root, *wide, *deep)))
    assert len(shown_nodes(browser_page)) == 201

    browser_page.get_by_text("Show 200 more of 801").click()
    assert len(shown_nodes(browser_page)) == 401
    browser_page.get_by_role("button", name="Expand all").click()
    assert len(shown_nodes(browser_page)) == 1 + 200 + 3999
    assert faults == []


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_fits_a_phone_in_both_color_schemes(
    browser_page: Page, tmp_path: Path, scheme: str
) -> None:
    browser_page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    browser_page.set_viewport_size({"width": 360, "height": 740})
    try:
        open_report(browser_page, tmp_path, make_result(small_tree()))
        browser_page.locator('.row[data-node="1"] .what').click()

        assert browser_page.evaluate("document.documentElement.scrollWidth") <= 360
        assert browser_page.locator("#panel").is_visible()
        red, green, blue = browser_page.evaluate(
            "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
        )
        assert (red + green + blue > 600) == (scheme == "light")
        browser_page.get_by_role("button", name="Close").click()
        assert not browser_page.locator("#panel").is_visible()
    finally:
        browser_page.emulate_media(color_scheme="light")
        browser_page.set_viewport_size({"width": 1280, "height": 900})
