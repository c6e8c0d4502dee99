"""The page of a report in a real browser: it asks for nothing, filters exactly, and can be read by all."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from browser import setup_axe
from browser.conftest import Opened, opened
from browser.driving import HOSTILE, driving_page
from metaferry.view.report.facts import Thumbnail

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of 2,000 documents, all of which are its sample: every count of it is exact."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(driving_page(path.parent, 2_000), encoding="utf-8")
    return path


@pytest.fixture
def light(browser: Browser, report: Path) -> Iterator[Opened]:
    with opened(browser, report, color_scheme="light", viewport={"width": 1280, "height": 900}) as page:
        yield page


def card(page: Opened, name: str) -> Any:
    return page.page.locator(f'[data-entry="{name}"]')


def test_nothing_is_asked_for_and_nothing_is_said(light: Opened) -> None:
    page = light.page
    for button in page.locator("button.bar:visible").all()[:12]:
        button.click()
    for details in page.locator("details").all():
        details.locator("summary").first.click()
    light.settle()
    page.locator("#theme").click()
    light.settle()
    assert light.heard == []


def test_a_click_filters_every_chart_and_a_second_one_gives_all_back(light: Opened) -> None:
    highway = card(light, "scene").locator("button.bar", has_text="highway")
    alone = int(highway.locator(".count").inner_text().replace(",", ""))
    assert light.matching() == "All 2,000 documents"
    highway.click()
    light.settle()
    assert light.matching().startswith(f"{alone:,} of 2,000 documents")
    braking = card(light, "braking").locator(".count").all_inner_texts()
    assert sum(int(text.replace(",", "")) for text in braking) == alone
    # Its own filter leaves its own chart as it was.
    assert int(highway.locator(".count").inner_text().replace(",", "")) == alone
    highway.click()
    light.settle()
    assert light.matching() == "All 2,000 documents"


def test_several_filters_count_documents_that_pass_all_of_them(light: Opened) -> None:
    card(light, "scene").locator("button.bar", has_text="highway").click()
    card(light, "braking").locator("button.bar", has_text="true").click()
    light.settle()
    shown = int(light.matching().split(" of ")[0].replace(",", ""))
    both = light.page.locator(".chip").all_inner_texts()
    assert both == ["scene: highway ×", "braking: true ×"]
    states = light.page.locator("#coverage article").first.locator(".count").all_inner_texts()
    assert sum(int(text.replace(",", "")) for text in states) == shown > 0
    light.page.locator(".clear").click()
    light.settle()
    assert light.matching() == "All 2,000 documents"


def test_the_table_of_folders_has_all_documents_where_all_have_one_state(
    browser: Browser, tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    path.write_text(driving_page(tmp_path, 8), encoding="utf-8")
    with opened(browser, path) as page:
        states, types, folders = page.page.locator("#coverage article").all()
        assert states.locator("button.bar").count() == 1
        types.locator("button.bar", has_text="image").click()
        folders.locator("summary").click()
        page.settle()
        assert page.matching() == "6 of 8 documents (75.0 %)"
        cells = folders.locator("td.number").all_inner_texts()
        assert sum(int(text) for text in cells) == 8
        bars = folders.locator("button.bar .count").all_inner_texts()
        assert sum(int(text.rpartition(" ")[2]) for text in bars) == 6


def test_dragging_over_bars_selects_a_range(light: Opened) -> None:
    area = card(light, "speed").locator(".area")
    area.scroll_into_view_if_needed()
    box = area.bounding_box()
    assert box is not None
    mouse, middle = light.page.mouse, box["y"] + box["height"] / 2
    mouse.move(box["x"] + box["width"] * 0.3, middle)
    mouse.down()
    mouse.move(box["x"] + box["width"] * 0.6, middle, steps=4)
    mouse.up()
    light.settle()
    assert light.page.locator(".chip").count() == 1
    assert light.page.locator(".chip").inner_text().startswith("speed: ")
    assert not light.matching().startswith("All")


def test_everything_works_from_the_keyboard(light: Opened) -> None:
    slider = card(light, "speed").locator("input[type=range]").first
    slider.focus()
    light.page.keyboard.press("ArrowRight")
    light.page.keyboard.press("ArrowRight")
    light.settle()
    assert light.page.locator(".chip").inner_text().startswith("speed: ")
    assert "to" in (slider.get_attribute("aria-valuetext") or "")
    button = card(light, "scene").locator("button.bar").first
    button.focus()
    light.page.keyboard.press("Space")
    light.settle()
    assert button.get_attribute("aria-pressed") == "true"
    assert light.page.locator(".chip").count() == 2


def test_a_drag_in_the_scatter_plot_and_in_the_map_filters_two_entries(light: Opened) -> None:
    for place, names in (("#scatter", ("speed", "vehicles")), ("#map", ("lat", "lon"))):
        plot = light.page.locator(f"{place} .plot svg")
        plot.scroll_into_view_if_needed()
        box = plot.bounding_box()
        assert box is not None
        light.page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.2)
        light.page.mouse.down()
        light.page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + box["height"] * 0.7, steps=4)
        light.page.mouse.up()
        light.settle()
        chips = " ".join(light.page.locator(".chip").all_inner_texts())
        assert all(f"{name}:" in chips for name in names), chips
        light.page.locator(".clear").click()
        light.settle()


def test_the_scene_is_what_colours_the_scatter_plot(light: Opened) -> None:
    chosen = light.page.locator("#scatter select").evaluate_all(
        "all => all.map(each => each.selectedOptions[0].textContent)"
    )
    assert chosen == ["speed", "vehicles", "scene"]
    assert light.page.locator("#scatter .legend-list button").count() == 4


def test_a_table_beside_each_chart_follows_the_filters(light: Opened) -> None:
    scene = card(light, "scene")
    scene.locator("summary").click()
    light.settle()
    assert scene.locator("th").all_inner_texts() == ["value", "documents", "share"]
    card(light, "braking").locator("button.bar", has_text="true").click()
    light.settle()
    assert scene.locator("th").all_inner_texts()[-1] == "under the filters"
    charts = light.page.locator(".histogram, .bars, .plot").count()
    assert light.page.locator("details.beside").count() >= charts - 1  # the parts of coverage share sections


def test_hostile_names_are_text(light: Opened) -> None:
    assert light.page.evaluate("document.querySelectorAll('img, iframe, object').length") == 0
    assert light.page.evaluate("window.hurt") is None
    assert HOSTILE.split("\u202e")[0] in light.page.locator("#entries").inner_text()
    assert "\u202e" not in light.page.locator("body").inner_text()


@pytest.mark.parametrize(("scheme", "across"), [("light", 1280), ("dark", 390)])
def test_axe_finds_nothing(browser: Browser, report: Path, scheme: Any, across: int) -> None:
    if not setup_axe.is_installed():
        reason = "axe-core is not installed: cd tests && python -m browser.setup_axe"
        if os.environ.get("CI") or os.environ.get("METAFERRY_FULL"):
            pytest.fail(reason)
        pytest.skip(reason)
    with opened(browser, report, color_scheme=scheme, viewport={"width": across, "height": 900}) as page:
        card(page, "scene").locator("button.bar").first.click()
        for details in page.page.locator("details").all():
            details.locator("summary").first.click()
        page.settle()
        page.page.evaluate(setup_axe.SOURCE.read_text(encoding="utf-8"))
        found = page.page.evaluate(
            "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa', 'best-practice']})"
        )
        faults = [
            (each["id"], node["target"], node["failureSummary"])
            for each in found["violations"]
            for node in each["nodes"]
        ]
        assert not faults, faults
        assert len(found["passes"]) > 15
        overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.page.evaluate(overflow) <= 0


def test_it_prints_in_light_colours_with_its_filters(browser: Browser, report: Path) -> None:
    with opened(browser, report, color_scheme="dark") as page:
        card(page, "scene").locator("button.bar").first.click()
        page.settle()
        page.page.emulate_media(media="print")
        ground = "getComputedStyle(document.body).backgroundColor"
        assert page.page.evaluate(ground) == "rgb(255, 255, 255)"
        assert page.page.locator(".chip").is_visible()
        assert not page.page.locator("#theme").is_visible()
        assert len(page.page.pdf(format="A4")) > 10_000


def test_a_page_of_a_sample_says_about(
    browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from metaferry.view.report import sample

    monkeypatch.setattr(sample, "MOST_SAMPLED", 300)
    path = tmp_path / "report.html"
    path.write_text(driving_page(tmp_path, 2_000), encoding="utf-8")
    with opened(browser, path) as page:
        card(page, "scene").locator("button.bar").first.click()
        page.settle()
        assert "about" not in page.matching()  # one filter is exact
        card(page, "braking").locator("button.bar", has_text="false").click()
        page.settle()
        assert page.matching().startswith("about ")
        assert "300 documents" in page.page.locator("#made").inner_text()
        assert page.heard == []


def test_pictures_are_drawn_and_follow_the_filters(browser: Browser, tmp_path: Path) -> None:
    data = io.BytesIO()
    Image.effect_noise((80, 60), 80).convert("RGB").save(data, "JPEG")
    names = [f"images/{n % 3}/i{n}.png" for n in (0, 1, 2, 3)]  # of the table
    thumbnails = tuple(Thumbnail(name, "image/jpeg", data.getvalue()) for name in [*names, HOSTILE])
    path = tmp_path / "report.html"
    path.write_text(driving_page(tmp_path, 200, thumbnails), encoding="utf-8")
    with opened(browser, path) as page:
        pictures = page.page.locator("#pictures img")
        assert pictures.count() == 5
        page.page.wait_for_function(
            "[...document.querySelectorAll('#pictures img')].every((each) => each.naturalWidth === 80)"
        )
        folder = page.page.locator("#coverage .folders button.bar", has_text="images/1")
        folder.first.click()
        page.settle()
        # The picture of a name that is no document of the sample stays.
        shown = page.page.locator("#pictures figure:visible").all_inner_texts()
        assert len(shown) == 2
        assert shown[0] == "images/1/i1.png"
        assert page.page.evaluate("window.hurt") is None
        assert [each for each in page.heard if "data:image/jpeg" not in each] == []


def test_a_page_without_documents_is_drawn(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(driving_page(tmp_path, 0), encoding="utf-8")
    with opened(browser, path) as page:
        assert page.matching() == "All 0 documents"
        assert page.heard == []
