"""The site of the docs, as `make docs-site` builds it: whole, searchable, and nothing from elsewhere."""

from __future__ import annotations

import json
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".cache/docs/bin/python"

pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason="no Zensical: make .cache/docs/ready")


class Page(HTMLParser):
    """The links of a page, the ids that links may lead to, and what the browser loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.loaded: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids.add(given.get("id", ""))
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif "src" in given:
            self.loaded.append(given["src"])
        elif tag == "link" and given.get("rel") != "canonical":
            self.loaded.append(given.get("href", ""))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("docs") / "site"
    done = subprocess.run(
        [PYTHON, ROOT / "docs/build_site.py", out], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def pages(site: Path) -> dict[str, Page]:
    return {
        path.relative_to(site).as_posix(): Page(path.read_text(encoding="utf-8"))
        for path in site.rglob("*.html")
        if path.name != "404.html"
    }


def test_every_page_is_there_and_in_the_navigation(site: Path) -> None:
    there = pages(site)
    names = {
        path.relative_to(ROOT / "docs").with_suffix(".html").as_posix() for path in ROOT.glob("docs/*.md")
    }
    assert names | {"index.html", "changelog.html"} <= there.keys()
    linked = {urlsplit(link).path.removeprefix("./") for link in there["index.html"].links}
    assert {name for name in names if name not in linked} == set()


def test_every_link_leads_somewhere(site: Path) -> None:
    there = pages(site)
    gone = []
    for name, page in there.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            place = (site / name).parent / unquote(parts.path) if parts.path else site / name
            place = place / "index.html" if place.is_dir() else place
            other = there.get(place.resolve().relative_to(site.resolve()).as_posix())
            if not place.exists() or (parts.fragment and other and unquote(parts.fragment) not in other.ids):
                gone.append(f"{name}: {link}")
    assert gone == []


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    for name, page in pages(site).items():
        for place in page.loaded:
            assert not urlsplit(place).netloc, f"{name} loads {place}"
    for sheet in site.rglob("*.css"):
        assert re.findall(r"url\(['\"]?https?:[^)]*", sheet.read_text(encoding="utf-8")) == []


def test_it_can_be_searched(site: Path) -> None:
    index = json.loads((site / "search.json").read_text(encoding="utf-8"))
    text = json.dumps(index, ensure_ascii=False)
    for words in ("rejects_fail", "KubernetesPodOperator", "To report a vulnerability"):
        assert words in text
