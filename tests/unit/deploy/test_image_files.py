"""What the image is made from: pinned, hashed, and free of addresses of any index."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
LOCKS = [ROOT / "requirements.lock", *sorted((ROOT / "deploy").glob("*.lock"))]
DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")


def pins(lock: Path) -> set[str]:
    return set(re.findall(r"^[a-z0-9-]+==\S+", lock.read_text(encoding="utf-8"), re.MULTILINE))


def names(lock: Path) -> set[str]:
    return {pin.partition("==")[0] for pin in pins(lock)}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_has_hashes_and_no_addresses(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    assert "://" not in text
    assert "--index" not in text
    for entry in re.split(r"\n(?=[a-z])", text.strip()):
        assert "--hash=sha256:" in entry, entry


def test_every_extra_of_the_image_has_a_lock_that_adds_to_the_first() -> None:
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    base, tested = pins(ROOT / "requirements.lock"), pins(ROOT / "tests/requirements.lock")
    for extra in extras - {"airflow"}:  # Airflow is the image there, and metaferry a package in it
        added = ROOT / f"deploy/extras-{extra}.lock"
        assert pins(added)
        assert names(added) & {pin.partition("==")[0] for pin in base} == set()
        assert pins(added) <= tested, "what runs is what was tested"
        assert f'"{extra}"' in DOCKERFILE


def test_the_base_is_pinned_and_the_last_stage_builds_nothing() -> None:
    (base,) = re.findall(r"^ARG BASE=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert re.fullmatch(r"python:[0-9.]+-slim-bookworm@sha256:[0-9a-f]{64}", base)
    last = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]
    assert last.startswith("\nFROM scratch\n")
    assert "\nRUN " not in last
    assert 'ENTRYPOINT ["tini", "--", "metaferry"]' in last
    assert "\nUSER 10001:10001\n" in last


def test_the_context_has_what_the_dockerfile_copies() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    kept = [line.removeprefix("!") for line in ignored if line.startswith("!")]
    for copied in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE):
        for source in copied.split()[:-1]:
            assert list(ROOT.glob(source)), source
            assert any(source == entry or source.startswith(f"{entry}/") for entry in kept), source
