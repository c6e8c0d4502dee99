"""Chromium, the system's own, without a network: the pages of reports as people open them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@dataclass
class Opened:
    """A page that is drawn. `heard` has each console line, error and request of it but the file itself."""

    page: Page
    heard: list[str] = field(default_factory=list)

    def matching(self) -> str:
        return self.page.locator(".matching").inner_text()

    def settle(self) -> None:
        """Waits for the next frame, in which filters are applied."""
        self.page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


@pytest.fixture(scope="module")  # while it is there an event loop runs in this thread, which others need
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=program)
        yield launched
        launched.close()


@contextmanager
def opened(browser: Browser, path: Path, **options: Any) -> Iterator[Opened]:
    """The file at `path` in a context of its own, once it is drawn."""
    context = browser.new_context(offline=True, **options)
    try:
        found = Opened(context.new_page())
        found.page.on("console", lambda message: found.heard.append(f"console: {message.text}"))
        found.page.on("pageerror", lambda error: found.heard.append(f"error: {error}"))
        found.page.on(
            "request",
            lambda request: (
                request.url == path.as_uri() or found.heard.append(f"request: {request.url[:80]}")
            ),
        )
        found.page.goto(path.as_uri())
        found.page.wait_for_selector("html[data-ready]", timeout=120_000)
        yield found
    finally:
        context.close()
