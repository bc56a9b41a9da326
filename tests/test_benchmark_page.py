"""The page of the benchmark: its text, and in a real browser."""

import re
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page
from similar_fast import evaluate
from similar_fast.baselines import RandomScorer
from similar_fast.dimensions import DIMENSIONS, Dimension
from similar_fast.report.benchmark_page import render_benchmark, write_benchmark
from similar_fast.srm.evaluate import (
    Comparison,
    Counting,
    Evaluation,
    compare_evaluations,
    evaluate_scores,
)
from srm_pairs import HOSTILE, NumberScorer, make_pair, random_pairs

FEW = Counting(num_draws=200)
PAIRS = random_pairs(3, n=400)


def both() -> Comparison:
    first = evaluate(NumberScorer(), PAIRS, name="careful", counting=FEW)
    second = evaluate(RandomScorer(), PAIRS, name="coin", counting=FEW)
    return compare_evaluations(PAIRS, first, second, counting=FEW)


def hostile() -> Evaluation:
    pairs = [
        make_pair(
            kind,
            task=HOSTILE + str(i),
            environment=HOSTILE,
            platform=("web", "linux")[i % 2],
            instruction=HOSTILE,
            history=(HOSTILE,),
            chosen=(HOSTILE,),
            rejected=(HOSTILE + "!",),
        )
        for kind in Dimension
        for i in range(4)
    ]
    errors = {0: HOSTILE}
    scores = np.zeros(28)
    scores[0] = np.nan
    return evaluate_scores(pairs, scores, np.ones(28), name=HOSTILE, counting=FEW, errors=errors)


def test_page_is_ascii_without_a_script_and_whole() -> None:
    comparison = both()

    page = render_benchmark(comparison.first, comparison=comparison, facts={"Data": "x.jsonl"})

    assert page.isascii()
    assert "<script" not in page
    assert "{{" not in page
    assert re.findall(r'(?:src|href)="(?!data:,")', page) == []
    assert page == render_benchmark(
        comparison.first, comparison=comparison, facts={"Data": "x.jsonl"}
    )


def test_hostile_text_is_escaped() -> None:
    page = render_benchmark(hostile(), facts={HOSTILE: HOSTILE}, notes=[HOSTILE])

    assert page.isascii()
    assert "<img" not in page
    assert "<!--" not in page


def test_write_benchmark_replaces_the_file(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_text("old", encoding="ascii")
    found = evaluate(NumberScorer(), PAIRS, counting=FEW)

    assert write_benchmark(found, str(path)) == path
    assert path.read_text(encoding="ascii") == render_benchmark(found)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        write_benchmark(found, tmp_path / "nowhere" / "page.html")


@pytest.mark.browser
def test_browser_shows_every_figure(browser_page: Page, tmp_path: Path, faults: list[str]) -> None:
    comparison = both()
    first = comparison.first
    path = write_benchmark(first, tmp_path / "page.html", comparison=comparison, notes=["a note"])

    browser_page.goto(path.as_uri())

    assert browser_page.title() == "careful"
    assert browser_page.locator(".badge").inner_text() == "Above chance"
    assert "a note" in browser_page.locator(".notes").inner_text()
    rows = browser_page.locator("table").first.locator("tbody tr")
    cells = {
        row.locator("th").inner_text(): row.locator("td").all_inner_texts() for row in rows.all()
    }
    assert len(cells) == 9
    for kind, estimate in first.overall.groups.items():
        name = next(name for name in cells if name.endswith(str(kind)))
        counts = first.overall.accuracy.groups[kind]
        assert cells[name][0] == f"{100 * estimate.value:.1f}"
        assert cells[name][3:] == [f"{counts.n}", f"{counts.n_ties}", "0"]
    difference = comparison.paired.overall.difference.estimate.value
    compared = browser_page.locator("table").nth(1).inner_text()
    assert f"+{100 * difference:.1f}" in compared
    assert browser_page.locator("details[open]").count() == 2
    assert browser_page.locator("details").count() == len(first.misses) > 5
    assert "shop linux" in browser_page.locator("main").inner_text()
    assert faults == []


@pytest.mark.browser
def test_radar_draws_each_dimension_at_its_accuracy(
    browser_page: Page, tmp_path: Path, faults: list[str]
) -> None:
    found = evaluate(NumberScorer(), PAIRS, counting=FEW)

    browser_page.goto(write_benchmark(found, tmp_path / "page.html").as_uri())

    def distances(place: str) -> list[float]:
        points = browser_page.locator(place).first.get_attribute("points")
        assert points is not None
        corners = np.array([[float(x) for x in point.split(",")] for point in points.split()])
        return np.hypot(*(corners - [250, 190]).T).tolist()

    expected = [128 * found.overall.groups[dimension].value for dimension in DIMENSIONS]
    assert distances(".radar .outline.first") == pytest.approx(expected, abs=0.2)
    assert distances(".radar .chance") == pytest.approx([64] * 5, abs=0.2)
    box = browser_page.locator(".radar").bounding_box()
    assert box is not None
    assert box["width"] > 300
    assert faults == []


@pytest.mark.browser
def test_hostile_text_stays_text(browser_page: Page, tmp_path: Path, faults: list[str]) -> None:
    page = write_benchmark(
        hostile(), tmp_path / "page.html", facts={"Data": HOSTILE}, notes=[HOSTILE]
    )

    browser_page.goto(page.as_uri())

    for place in ("h1", ".kicker", ".notes", "details[open] pre", "details[open] summary", "main"):
        assert "<img src=x" in browser_page.locator(place).first.inner_text(), place
    assert browser_page.locator("img").count() == 0
    assert browser_page.evaluate("window.hacked") is None
    assert faults == []


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_fits_a_phone_in_both_color_schemes(
    browser_page: Page, tmp_path: Path, scheme: str
) -> None:
    comparison = both()
    browser_page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    browser_page.set_viewport_size({"width": 360, "height": 740})
    try:
        path = write_benchmark(comparison.first, tmp_path / "page.html", comparison=comparison)
        browser_page.goto(path.as_uri())

        assert browser_page.evaluate("document.documentElement.scrollWidth") <= 360
        red, green, blue = browser_page.evaluate(
            "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
        )
        assert (red + green + blue > 600) == (scheme == "light")
    finally:
        browser_page.emulate_media(color_scheme="light")
        browser_page.set_viewport_size({"width": 1280, "height": 900})


def test_evaluation_of_nothing_valid_is_a_page() -> None:
    found = evaluate_scores([make_pair()], [float("nan")], [0.0], counting=FEW)

    page = render_benchmark(found)

    assert "No answer" in page
    assert "Too few tasks to fit a temperature" in page
    assert "The scorer is wrong about no pair" in page
