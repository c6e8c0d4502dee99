"""Names on disk are UTF-8 under any locale: the command and the library see the same files in all of them."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from e2e.world import ENVIRONMENT, World
from metaferry.demo import make_dataset

#: Decomposed and composed, other scripts, and characters beyond the first plane.
NAMES = ("Brücke.png", "Bru\u0308cke2.png", "橋.png", "😀.png", "straße/größe.png")

LIBRARY = """
import json, sys
encoding, path = sys.argv[1:]
assert sys.getfilesystemencoding() == encoding, sys.getfilesystemencoding()
import metaferry
if path == "decoded":
    path = b"j\\xc3\\xb6b/job.yaml".decode(encoding, "surrogateescape")
report = metaferry.sync(metaferry.Job.load(path))
sys.stdout.buffer.write(json.dumps(report.to_dict()).encode())
"""

SCRATCH = """
import metaferry
path = b"j\\xc3\\xb6b/job.yaml".decode("ascii", "surrogateescape")
try:
    metaferry.plan(metaferry.Job.load(path, ["scratch=/tmp/gr\u00f6"]))
except metaferry.UsageError as error:
    print(error, error.advice)
"""


@pytest.fixture(scope="module")
def latin1(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a locale that is ISO-8859-1; made here, where the system has its sources."""
    folder = tmp_path_factory.mktemp("locales")
    program = shutil.which("localedef")
    if program is None:
        pytest.skip("localedef is not installed, and the system has no ISO-8859-1 locale")
    subprocess.run(
        [program, "-c", "-i", "en_US", "-f", "ISO-8859-1", str(folder / "en_US")],
        capture_output=True,
        check=False,
        timeout=120,
    )
    environment = {"LOCPATH": str(folder), "LC_ALL": "en_US", "PYTHONUTF8": "0"}
    asked = [sys.executable, "-c", "import sys; print(sys.getfilesystemencoding())"]
    told = subprocess.run(
        asked, env={**os.environ, **environment}, capture_output=True, text=True, check=True
    )
    if told.stdout.strip() != "iso8859-1":
        pytest.skip("this system cannot make an ISO-8859-1 locale")
    return environment


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture(params=["ascii", "latin1"])
def locale(request: pytest.FixtureRequest) -> dict[str, str]:
    if request.param == "ascii":
        return ASCII
    environment: dict[str, str] = request.getfixturevalue("latin1")
    return environment


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A datasource whose every name, and the folder that it lies in, is not ASCII."""
    dataset = make_dataset(tmp_path / "demo")
    picture = (dataset.media / dataset.images[0]).read_bytes()
    root = tmp_path / "Übung"
    world = World(root)
    for name in NAMES:
        world.put(f"jöb/bilder/{name}", picture)
    rows = "".join(f"{name},{n}\n" for n, name in enumerate(NAMES))
    world.put("jöb/tabellen/größen.csv.gz", gzip.compress(f"file_name,wert\n{rows}".encode()))
    world.put(
        "jöb/job.yaml",
        json.dumps(
            {
                "input": "bilder",
                "sources": [{"table": "tabellen/größen.csv.gz"}],
                "policy": {"delete": "orphans", "max_delete": "100%"},
            },
            ensure_ascii=False,
        ),
    )
    return world


def documents(world: World) -> set[str]:
    root = os.fsencode(world.root / "jöb/bilder/.lightly/metadata")
    return {
        os.path.relpath(os.path.join(folder, name), root).decode()
        for folder, _, names in os.walk(root)
        for name in names
        if name != b"schema.json"
    }


WANTED = {f"{name.removesuffix('.png')}.json" for name in NAMES}


def test_the_command_matches_names_under_any_locale(world: World, locale: Mapping[str, str]) -> None:
    ran = world.run_process("sync", "jöb/job.yaml", "--format", "json", environment=locale)
    assert ran.code == 0, ran.err
    assert documents(world) == WANTED
    assert ran.report["documents"]["create"] == len(NAMES)
    again = world.run_process("sync", "jöb/job.yaml", "--format", "json", environment=locale)
    assert (again.code, again.report["documents"]["keep"]) == (0, len(NAMES)), again.err
    # And in text for people, whatever the terminal can show.
    assert world.run_process("plan", "jöb/job.yaml", environment=locale).code == 0


def test_no_right_document_is_deleted_when_the_locale_changes(
    world: World, locale: Mapping[str, str]
) -> None:
    """`delete: orphans`: a name that is decoded in another way would be a media that is gone."""
    assert world.run_process("sync", "jöb/job.yaml").code == 0
    ran = world.run_process("sync", "jöb/job.yaml", "--format", "json", environment=locale)
    assert ran.code == 0, ran.err
    assert ran.report["documents"]["keep"] == len(NAMES)
    assert ran.report["documents"]["delete"] == 0
    assert documents(world) == WANTED


@pytest.mark.parametrize(
    ("encoding", "path"),
    [("ascii", "jöb/job.yaml"), ("ascii", "decoded"), ("iso8859-1", "decoded")],
)
def test_the_library_matches_names_under_any_locale(
    world: World, request: pytest.FixtureRequest, encoding: str, path: str
) -> None:
    """A program of somebody else's keeps the encoding that its locale gave it."""
    locale = ASCII if encoding == "ascii" else request.getfixturevalue("latin1")
    script = world.root / "program.py"
    script.write_text(LIBRARY)
    done = subprocess.run(
        [sys.executable, str(script), encoding, path],
        cwd=world.root,
        env={**ENVIRONMENT, **locale},
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout)["documents"]["create"] == len(NAMES)
    assert documents(world) == WANTED


def test_a_scratch_folder_that_the_engine_would_read_otherwise_is_refused(world: World) -> None:
    script = world.root / "program.py"
    script.write_text(SCRATCH)
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=world.root,
        env={**ENVIRONMENT, **ASCII},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "scratch: the locale is not a UTF-8 one" in done.stdout
    assert "PYTHONUTF8=1" in done.stdout
