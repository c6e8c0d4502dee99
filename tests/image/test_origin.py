"""What an image says of itself: labels, the list of its parts, and that it can be built again to the byte."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from image.engine import ROOT, Container, Engine

pytestmark = [pytest.mark.slow, pytest.mark.servers, pytest.mark.timeout(3600)]

#: What an image is built from, as `.dockerignore` lets it pass.
SOURCES = (
    ".dockerignore",
    "LICENSE",
    "README.md",
    "deploy",
    "pyproject.toml",
    "requirements.lock",
    "service",
)
EPOCH = 1_764_000_000
LISTED = """
import importlib.metadata, json
bill = json.load(open("/opt/metaferry/sbom.cdx.json"))
there = sorted(f"{each.metadata['Name']}=={each.version}" for each in importlib.metadata.distributions())
debian = open("/var/lib/dpkg/status").read().count("\\nStatus: install ok installed\\n")
print(json.dumps({"bill": bill, "there": there, "debian": debian}))
"""


def test_its_labels_say_where_it_comes_from(engine: Engine, image: str, origin: dict[str, str]) -> None:
    labels = engine.inspect(image)["Config"]["Labels"]
    assert origin["REVISION"] != "unknown"
    assert {name: value for name, value in labels.items() if name.startswith("org.opencontainers.")} == {
        "org.opencontainers.image.title": "metaferry",
        "org.opencontainers.image.description": labels["org.opencontainers.image.description"],
        "org.opencontainers.image.licenses": "Apache-2.0",
        "org.opencontainers.image.version": "0.1.0",
        "org.opencontainers.image.revision": origin["REVISION"],
        "org.opencontainers.image.source": "https://example.com/fleet/metaferry",
        "org.opencontainers.image.created": origin["CREATED"],
        "org.opencontainers.image.base.name": origin["BASE_NAME"],
        "org.opencontainers.image.base.digest": origin.get("BASE_DIGEST", "unknown"),
    }


def test_its_list_of_parts_names_what_it_holds(engine: Engine, image: str, origin: dict[str, str]) -> None:
    words = ["-c", LISTED]
    done = subprocess.run(
        engine.command(
            Container("metaferry-test-sbom", image, words, entrypoint="/opt/metaferry/bin/python")
        ),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    parts = found["bill"]["components"]
    python = [f"{part['name']}=={part['version']}" for part in parts if "pkg:pypi/" in part.get("purl", "")]
    debian = [part for part in parts if "pkg:deb/" in part.get("purl", "")]
    assert sorted(python) == found["there"]
    assert len(python) > 30
    assert len(debian) == found["debian"] > 50
    assert {"tini", "ca-certificates"} <= {part["name"] for part in debian}
    assert found["bill"]["metadata"]["timestamp"] == origin["CREATED"]


def test_two_builds_of_one_time_are_the_same_bytes(engine: Engine, tmp_path: Path) -> None:
    """From two copies of the sources, whose files differ in times and rights, and without a cache."""
    if not engine.timestamp:
        pytest.skip(f"{engine.name} keeps the times of files; docs/operations.md has the recipe for buildx")
    other = tmp_path / "sources"
    other.mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, other / name)
    for path in other.rglob("*"):
        path.chmod(0o750 if path.is_dir() or path.suffix == ".sh" else 0o640)
        os.utime(path, (1_000_000_000, 1_000_000_000))
    tags = [f"metaferry-test-same:{os.getpid()}-{number}" for number in (1, 2)]
    try:
        for tag, context in zip(tags, (ROOT, other), strict=True):
            engine.build_image(tag, epoch=EPOCH, cache=False, context=context)
        first, second = map(engine.inspect, tags)
    finally:
        if not os.environ.get("METAFERRY_KEEP_IMAGES"):
            for tag in tags:
                engine.remove_image(tag)
    assert first["RootFS"]["Layers"] == second["RootFS"]["Layers"]
    # The hash of the configuration, which names the layers by their hashes.
    assert first["Id"] == second["Id"]
    assert first["Created"].startswith("2025-11-24T16:00:00")
