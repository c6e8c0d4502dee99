"""The picture of the README: a screenshot of the page of the demonstration, in Chromium."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

#: What stands for the folder of the demonstration, as in the README.
HOME = "/home/you"


def take_picture(path: Path) -> str:
    """Writes the picture; where that is not possible here, says why."""
    program = shutil.which("chromium")
    if program is None:
        return "chromium is not installed"
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return "playwright is not installed"
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        command = [sys.executable, "-m", "metaferry", "demo", "metaferry-demo", "--quiet"]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        browser = playwright.chromium.launch(executable_path=program)
        page = browser.new_page(viewport={"width": 1240, "height": 1000}, color_scheme="light")
        page.goto((Path(folder) / "metaferry-demo" / "report.html").as_uri())
        page.wait_for_selector("html[data-ready]")
        area = page.locator('[data-entry="speed_kmh"] .area')
        area.scroll_into_view_if_needed()
        box = area.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] * 0.66, box["y"] + 60)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.93, box["y"] + 60, steps=4)
        page.mouse.up()
        page.mouse.move(2, 2)
        page.evaluate(
            """([folder, home]) => {
                const title = document.querySelector("h1 bdi");
                title.textContent = title.textContent.replace(folder, home);
                scrollTo(0, 0);
            }""",
            [folder, HOME],
        )
        page.wait_for_timeout(300)
        path.parent.mkdir(exist_ok=True)
        page.screenshot(path=path)
        browser.close()
    return ""
