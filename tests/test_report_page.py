"""The report in a real browser."""

import base64
from dataclasses import replace
from pathlib import Path

import pytest
from explained_searches import POLICIES, searched
from playwright.sync_api import Page
from report_trees import BLUE, DIMS, HOSTILE, make_result, small_tree, wide_tree
from similar_fast.dimensions import DIMENSIONS
from similar_fast.report.search_page import write_report
from similar_fast.tree.explain import explain_steps
from similar_fast.types import Action, Score, SearchResult, SearchTreeNode

pytestmark = pytest.mark.browser


def open_report(page: Page, tmp_path: Path, result: SearchResult) -> None:
    page.goto(write_report(result, tmp_path / "report.html").as_uri())


def shown_nodes(page: Page) -> list[int]:
    return page.locator(".row[data-node]").evaluate_all(
        "rows => rows.map(r => Number(r.dataset.node))"
    )


def panel_number(page: Page, key: str) -> float:
    text = page.locator(f'#panel dd[data-key="{key}"]').inner_text()
    return float(text.replace("\u2212", "-").replace(",", ""))


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


def test_keyboard_walks_the_tree(browser_page: Page, tmp_path: Path) -> None:
    open_report(browser_page, tmp_path, make_result(small_tree()))
    row = browser_page.locator('.row[tabindex="0"]')
    row.focus()
    walk = {
        "ArrowUp": 1,
        "ArrowLeft": 1,  # closes node 1
        "ArrowDown": 2,
        "ArrowRight": 2,  # opens node 2
        "Home": 0,
        "End": 3,
        "Enter": 3,
    }

    for key, node_id in walk.items():
        browser_page.keyboard.press(key)
        assert row.get_attribute("data-node") == str(node_id), key
        place = browser_page.locator("#panel .place").first.inner_text()
        assert place.startswith(f"Node {node_id} "), key

    assert shown_nodes(browser_page) == [0, 1, 2, 6, 3]
    for key, node_id in (("ArrowUp", 6), ("ArrowLeft", 2), ("ArrowRight", 6)):
        browser_page.keyboard.press(key)
        assert row.get_attribute("data-node") == str(node_id), key


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


def test_policy_forbids_every_other_script(browser_page: Page, tmp_path: Path) -> None:
    path = write_report(make_result(small_tree()), tmp_path / "report.html")
    page = path.read_text(encoding="ascii")
    path.write_text(
        page.replace("</body>", "<script>window.hacked = 1</script></body>"), encoding="ascii"
    )

    browser_page.goto(path.as_uri())

    assert browser_page.locator("#count").inner_text() == "6 of 7 nodes shown"
    assert browser_page.evaluate("window.hacked") is None


def test_screenshot_of_the_node_shows(browser_page: Page, tmp_path: Path) -> None:
    open_report(browser_page, tmp_path, make_result(small_tree()))

    browser_page.locator('.row[data-node="4"]').click()
    image = browser_page.locator("#panel img")

    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 1
    assert image.get_attribute("src") == "data:image/png;base64," + base64.b64encode(BLUE).decode()
    browser_page.locator('.row[data-node="2"]').click()
    assert image.count() == 0


@pytest.mark.timeout(120)
def test_ten_thousand_nodes_open(browser_page: Page, tmp_path: Path, faults: list[str]) -> None:
    result = make_result(wide_tree(10_000))
    path = write_report(result, tmp_path / "report.html")

    browser_page.goto(path.as_uri())
    assert len(shown_nodes(browser_page)) == 11  # only the root stands open
    browser_page.get_by_role("button", name="Expand all").click()
    assert browser_page.locator("#count").inner_text() == "10,000 of 10,000 nodes shown"

    assert faults == []


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


@pytest.mark.parametrize("has_dims", [True, False])
def test_numbers_of_a_row_stand_beside_its_action(
    browser_page: Page, tmp_path: Path, *, has_dims: bool
) -> None:
    nodes = [
        node
        if node.score is None
        else replace(node, score=Score(node.score.total, DIMS if has_dims else None))
        for node in small_tree()
    ]

    open_report(browser_page, tmp_path, make_result(nodes))

    row = browser_page.locator(".row[data-node='1']")
    action, score = row.locator(".edge"), row.locator(".cell").last
    action_box, score_box = action.bounding_box(), score.bounding_box()
    assert action_box is not None
    assert score_box is not None
    assert score_box["x"] > action_box["x"] + 100
    assert (
        abs(score_box["y"] + score_box["height"] / 2 - action_box["y"] - action_box["height"] / 2)
        < 12
    )


@pytest.mark.parametrize("policy", POLICIES)
def test_report_of_every_policy_tells_why(
    browser_page: Page, tmp_path: Path, faults: list[str], policy: str
) -> None:
    result = searched(policy, num_simulations=60, greedy_margin=0.0, ending_value="last")
    steps = explain_steps(result)

    open_report(browser_page, tmp_path, result)
    parts = browser_page.locator("#steps details")

    assert f"Policy {policy}. The search stopped: " in browser_page.locator("#stopped").inner_text()
    assert parts.count() == len(steps) > 0
    for place, (why, action) in enumerate(zip(steps, result.actions, strict=True)):
        part = parts.nth(place)
        assert part.locator("summary").inner_text() == f"{place + 1}. {action}"
        assert part.locator("ul").is_visible() == (place == 0)
        if place > 0:
            part.locator("summary").focus()
            browser_page.keyboard.press("Enter")
        assert part.locator("li").all_inner_texts() == list(why.sentences)
    assert faults == []


def test_comparison_tells_the_numbers_of_both(browser_page: Page, tmp_path: Path) -> None:
    open_report(browser_page, tmp_path, make_result(small_tree()))

    rows = browser_page.locator("#steps table").first.locator("tbody tr")
    cells = {
        row.get_attribute("data-key"): row.locator("td").all_inner_texts() for row in rows.all()
    }

    assert cells["visits"] == ["6", "3", "3"]
    assert cells["prior"] == ["0.500", "0.250", "0.250"]
    assert cells["efficiency"] == ["\u22121.500", "\u22121.500", "0.000"]
    assert cells["ending"] == ["0.938", "\u2013", "\u2013"]
    assert list(cells) == ["visits", "value", "prior", "score", "ending", *DIMENSIONS]


def test_marks_tell_what_became_of_a_step(browser_page: Page, tmp_path: Path) -> None:
    nodes = list(small_tree())
    nodes[2] = replace(nodes[2], is_closed=True, is_solved=True)
    nodes[4] = replace(nodes[4], is_greedy=True, is_solved=True)
    nodes[5] = replace(nodes[5], is_merged=True, merged_with=2)
    nodes[1] = replace(nodes[1], is_solved=True)
    open_report(browser_page, tmp_path, make_result(tuple(nodes)))

    marks = {
        node: browser_page.locator(f'.row[data-node="{node}"] .tag').all_inner_texts()
        for node in (1, 2, 3, 4, 5)
    }
    browser_page.locator('.row[data-node="5"] .what').click()

    assert marks == {1: ["solved"], 2: ["dead end"], 3: [], 4: ["done", "greedy"], 5: ["merged"]}
    place = browser_page.locator("#panel .place").first.inner_text()
    assert "same screen as node 2, explored there" in place


def test_report_without_a_tree_has_no_explanation(browser_page: Page, tmp_path: Path) -> None:
    open_report(browser_page, tmp_path, make_result())

    assert not browser_page.locator("#why").is_visible()


def test_explanation_fits_a_phone(browser_page: Page, tmp_path: Path) -> None:
    browser_page.set_viewport_size({"width": 360, "height": 740})
    try:
        open_report(browser_page, tmp_path, searched())

        assert browser_page.locator("#steps table").first.is_visible()
        assert browser_page.evaluate("document.documentElement.scrollWidth") <= 360
    finally:
        browser_page.set_viewport_size({"width": 1280, "height": 900})
