"""The site of the docs: README.md, CHANGELOG.md and docs/**/*.md, built by Zensical.

python docs/build_site.py OUT      builds it there, strictly: a link to what is not there fails it

Nothing that a page loads comes from elsewhere, and the search runs in the browser, so that the site works
where there is no network. The front page is the README. Zensical is asked for by its module, so this runs
with the interpreter that it is installed for: `make docs-site`.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

ROOT: Final = Path(__file__).parent.parent
DOCS: Final = ROOT / "docs"

#: The pages by part; those of docs/sources are added to the first.
PARTS: Final = {
    "The job": ["job-file.md", "tables.md", "queries.md", "schema.md", "frames.md"],
    "Runs": ["storage.md", "lease.md", "price.md", "costs.md", "findings.md", "format.md"],
    "What is there": ["check.md", "doctor.md", "export.md", "report.md", "select.md"],
    "Where it runs": ["operations.md", "kubernetes.md", "airflow.md"],
    "Safety": ["security.md", "threat-model.md"],
    "The project": ["contributing.md", "design.md", "changelog.md"],
}
_LINK: Final = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")
_LOADED: Final = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"?(?:https?:)?//[^\s\">]+"
    r"|<link\b(?=[^>]*rel=\"?(?:stylesheet|preload|icon|preconnect))[^>]*href=\"?(?:https?:)?//[^\s\">]+"
)

Entry: TypeAlias = "str | Mapping[str, str | Sequence[str]]"


def pages() -> dict[str, Path]:
    """Every page by its name in the site."""
    found = {path.relative_to(DOCS).as_posix(): path for path in sorted(DOCS.rglob("*.md"))}
    return found | {"index.md": ROOT / "README.md", "changelog.md": ROOT / "CHANGELOG.md"}


def navigation() -> list[Entry]:
    """The parts, in order. A page of a new name goes into the last part, so that none is lost."""
    named = {page for part in PARTS.values() for page in part} | {"index.md"}
    sources = sorted(page for page in pages() if page.startswith("sources/"))
    others = sorted(pages().keys() - named - set(sources))
    parts = {title: list(names) for title, names in PARTS.items()}
    parts["The job"] += sources
    parts["The project"] += others
    return ["index.md", *({title: names} for title, names in parts.items())]


def staged(name: str, text: str) -> str:
    """A page as the site has it: links to pages lead to pages; of those to other files the text stays."""
    source = {"index.md": ROOT / "README.md", "changelog.md": ROOT / "CHANGELOG.md"}.get(name, DOCS / name)
    known = {path.resolve(): page for page, path in pages().items()}
    folder = Path(name).parent

    def link(found: re.Match[str]) -> str:
        text, (target, _, anchor) = found[1], found[2].partition("#")
        if "://" in found[2] or not target:
            return found[0]
        place = (source.parent / target).resolve()
        page = known.get(place)
        if page is None and place.suffix in (".png", ".svg") and DOCS in place.parents:
            page = place.relative_to(DOCS).as_posix()
        if page is None:
            return text
        way = Path("/".join([".."] * len(folder.parts)), page).as_posix()
        return f"[{text}]({way}{'#' if anchor else ''}{anchor})"

    return _LINK.sub(link, text)


def settings() -> str:
    """The configuration of Zensical, as TOML (of which strings and lists of JSON are a part)."""
    nav = ", ".join(
        json.dumps(each)
        if isinstance(each, str)
        else "{ "
        + ", ".join(f"{json.dumps(title)} = {json.dumps(names)}" for title, names in each.items())
        + " }"
        for each in navigation()
    )
    return f"""\
[project]
site_name = "metaferry"
site_description = "Keeps a Lightly datasource's metadata in step with the tables it comes from."
docs_dir = "pages"
site_dir = "site"
use_directory_urls = false
nav = [{nav}]
[project.theme]
font = false
features = ["content.code.copy", "navigation.sections", "navigation.top", "search.highlight", "toc.follow"]
[[project.theme.palette]]
media = "(prefers-color-scheme: light)"
scheme = "default"
[[project.theme.palette]]
media = "(prefers-color-scheme: dark)"
scheme = "slate"
[project.markdown_extensions.toc]
permalink = true
[project.markdown_extensions.tables]
[project.markdown_extensions.attr_list]
[project.markdown_extensions.pymdownx.superfences]
[project.markdown_extensions.pymdownx.highlight]
"""


def build(out: Path) -> int:
    """Builds the site in `out`, and what Zensical says goes to the terminal. The exit code."""
    with tempfile.TemporaryDirectory(prefix="metaferry-docs-") as folder:
        work = Path(folder)
        for name, path in pages().items():
            page = work / "pages" / name
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text(staged(name, path.read_text(encoding="utf-8")), encoding="utf-8")
        shutil.copytree(DOCS / "images", work / "pages" / "images")
        (work / "zensical.toml").write_text(settings(), encoding="utf-8")
        done = subprocess.run([sys.executable, "-m", "zensical", "build", "--strict"], cwd=work, check=False)
        if done.returncode != 0:
            return done.returncode
        elsewhere = loaded_from_elsewhere(work / "site")
        if elsewhere:
            sys.stderr.write("\n  ".join(["docs-site: pages load what lies elsewhere:", *elsewhere]) + "\n")
            return 1
        shutil.rmtree(out, ignore_errors=True)
        out.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(work / "site", out)
    return 0


def loaded_from_elsewhere(site: Path) -> list[str]:
    """What pages and style sheets load over the network, each once with its first place."""
    found: dict[str, str] = {}
    for path in sorted(site.rglob("*.html")):
        for match in _LOADED.finditer(path.read_text(encoding="utf-8")):
            found.setdefault(match[0], path.name)
    for path in sorted(site.rglob("*.css")):
        for match in re.finditer(
            r"url\(\s*['\"]?(?:https?:)?//[^)]*|@import[^;]*//", path.read_text("utf-8")
        ):
            found.setdefault(match[0], path.name)
    return [f"{place}: {what}" for what, place in found.items()]


if __name__ == "__main__":
    sys.exit(build(Path(sys.argv[1]).absolute()))
