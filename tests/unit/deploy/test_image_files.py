"""What the image is made from: pinned, hashed, and free of addresses of any index."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
LOCKS = [ROOT / "requirements.lock", *sorted((ROOT / "deploy").glob("*.lock"))]
DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")

#: No settings of whoever runs the tests, and no repository around a temporary folder.
QUIET = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "GIT_CEILING_DIRECTORIES": "/"}


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


def build_args(folder: Path, **environment: str) -> dict[str, str]:
    """What the script prints, in a checkout of a folder."""
    done = subprocess.run(
        ["sh", str(folder / "deploy/build-args.sh")],
        env={**os.environ, **QUIET, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert all(re.fullmatch(r"--build-arg=[A-Z_]+=\S+", line) for line in lines), "a word each for a shell"
    return dict(line.removeprefix("--build-arg=").split("=", 1) for line in lines)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with one commit, of a known time, and a remote with a password in it."""
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for words in (
        ["init", "--quiet"],
        ["remote", "add", "origin", "https://robot:token@git.example.com/fleet/metaferry.git"],
        ["add", "--all"],
        ["-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "--quiet", "--message", "one"],
    ):
        environment = {**os.environ, **QUIET, "GIT_COMMITTER_DATE": "1764000000 +0200"}
        subprocess.run(["git", *words], cwd=tmp_path, check=True, env=environment)
    return tmp_path


def test_the_build_arguments_say_where_an_image_comes_from(checkout: Path) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    (base,) = re.findall(r"^ARG BASE=(\S+)$", DOCKERFILE, re.MULTILINE)
    name, _, digest = base.partition("@")
    given = build_args(checkout)
    assert re.fullmatch(r"[0-9a-f]{40}", given.pop("REVISION"))
    assert given == {
        "VERSION": version,
        "SOURCE": "https://git.example.com/fleet/metaferry",
        "SOURCE_DATE_EPOCH": "1764000000",
        "CREATED": "2025-11-24T16:00:00Z",
        "BASE": base,
        "BASE_NAME": f"docker.io/library/{name}",
        "BASE_DIGEST": digest,
    }
    (checkout / "pyproject.toml").write_text('version = "9"\n')
    assert build_args(checkout)["REVISION"].endswith("-dirty")


@pytest.mark.parametrize(
    ("remote", "source"),
    [
        ("git@git.example.com:fleet/metaferry.git", "https://git.example.com/fleet/metaferry"),
        ("ssh://git@git.example.com/fleet/metaferry.git", "https://git.example.com/fleet/metaferry"),
        ("http://git.example.com/fleet/metaferry", "http://git.example.com/fleet/metaferry"),
        ("/home/robot/metaferry", "unknown"),
    ],
)
def test_the_source_is_a_page_without_a_password_or_nothing(checkout: Path, remote: str, source: str) -> None:
    subprocess.run(["git", "remote", "set-url", "origin", remote], cwd=checkout, check=True)
    assert build_args(checkout)["SOURCE"] == source


def test_the_environment_goes_before_the_checkout_and_none_is_needed(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    bare = build_args(tmp_path)
    assert (bare["REVISION"], bare["SOURCE"]) == ("unknown", "unknown")
    assert not {"CREATED", "SOURCE_DATE_EPOCH"} & set(bare)
    given = build_args(
        tmp_path, SOURCE_DATE_EPOCH="0", SOURCE="https://example.com", BASE="registry.example.com/python:3"
    )
    assert given["CREATED"] == "1970-01-01T00:00:00Z"
    assert given["SOURCE"] == "https://example.com"
    assert given["BASE"] == given["BASE_NAME"] == "registry.example.com/python:3"
    assert "BASE_DIGEST" not in given


def test_the_dockerfile_takes_every_build_argument() -> None:
    declared = set(re.findall(r"^ARG (\w+)", DOCKERFILE, re.MULTILINE))
    assert declared == {
        *("BASE", "BASE_DIGEST", "BASE_NAME", "CREATED", "EXTRAS"),
        *("REVISION", "SOURCE", "SOURCE_DATE_EPOCH", "VERSION"),
    }
    (default,) = re.findall(r"^ARG VERSION=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert default == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


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
