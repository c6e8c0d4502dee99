"""What builds and runs the image: docker, podman, or no engine at all.

`find_engine()` takes the first that works: for root on Debian, buildah, podman and runc without a daemon,
without kernel features that a container may lack, and with a base made by debootstrap where the
registry does not answer; else a docker that answers; else podman. The image comes out the same
but for its base. What is built is kept below .cache/image and used again.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy/Dockerfile"
STORE = ROOT / ".cache/image"
BASE_OF_OUR_OWN = "localhost/metaferry-base:bookworm"


class Missing(Exception):
    """Nothing here can build an image; the message says what was looked for."""


@dataclass(frozen=True, slots=True)
class Engine:
    """`build` and `run` are the words before the options that every engine knows."""

    name: str
    build: tuple[str, ...]
    run: tuple[str, ...]
    #: As `build` and `run`, for one-word commands such as `kill`.
    client: tuple[str, ...]
    #: The base, where it is not that of the Dockerfile.
    base: str = ""
    #: The option of `build` that gives every file and the image itself one time, in seconds since 1970.
    timestamp: str = ""

    def build_image(
        self,
        tag: str,
        *,
        target: str = "",
        arguments: Mapping[str, str] | None = None,
        epoch: int | None = None,
        cache: bool = True,
        context: Path = ROOT,
    ) -> str:
        """Builds the Dockerfile, or one stage; what the builder said is the answer, or in BuildFailed.

        With `epoch` the files of the image are all of that time; `context` is another copy of the sources.
        """
        command = [*self.build, "-f", str(context / DOCKERFILE.relative_to(ROOT)), "-t", tag]
        given = {**({"BASE": self.base} if self.base else {}), **(arguments or {})}
        if epoch is not None:
            given["SOURCE_DATE_EPOCH"] = str(epoch)
            command += [self.timestamp, str(epoch)]
        for name, value in given.items():
            command += ["--build-arg", f"{name}={value}"]
        if target:
            command += ["--target", target]
        if not cache:
            command += ["--no-cache"]
        done = subprocess.run([*command, str(context)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise BuildFailed(f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
        return done.stdout + done.stderr

    def command(self, container: Container) -> list[str]:
        """The command line that runs a container in the foreground and removes it afterwards."""
        options = ["--rm", "--name", container.name, "--network", "host"]
        options += ["--read-only", "--tmpfs", "/tmp:rw,mode=1777", "--cap-drop", "ALL"]
        options += ["--security-opt", "no-new-privileges"]
        if container.user:
            options += ["--user", container.user]
        if container.entrypoint:
            options += ["--entrypoint", container.entrypoint]
        for host in container.hosts:
            options += ["--add-host", f"{host}:127.0.0.1"]
        for source, inside in container.mounts.items():
            options += ["-v", f"{source}:{inside}:ro"]
        for name, value in container.environment.items():
            options += ["-e", f"{name}={value}"]
        return [*self.run, *options, container.image, *container.words]

    def signal(self, name: str, signal: str) -> None:
        subprocess.run([*self.client, "kill", "--signal", signal, name], check=True, capture_output=True)

    def execute(self, name: str, words: Sequence[str]) -> int:
        """The exit code of a command inside a running container."""
        done = subprocess.run([*self.client, "exec", name, *words], check=False, capture_output=True)
        return done.returncode

    def origin(self) -> dict[str, str]:
        """The build arguments by which an image says what it was made from, as users give them."""
        environment = {**os.environ, "BASE": self.base, "SOURCE": "https://example.com/fleet/metaferry"}
        command = ["sh", str(ROOT / "deploy/build-args.sh")]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        return dict(re.findall(r"^--build-arg=(\w+)=(.*)$", done.stdout, re.MULTILINE))

    def inspect(self, tag: str) -> dict[str, Any]:
        """What the engine knows of an image: its configuration, and the hashes of its layers."""
        command = [*self.client, "image", "inspect", tag]
        (about,) = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        found: dict[str, Any] = about
        return found

    def remove_image(self, tag: str) -> None:
        subprocess.run([*self.client, "image", "rm", "--force", tag], check=False, capture_output=True)

    def image_size(self, tag: str) -> int:
        """Bytes of an image as it is unpacked."""
        command = [*self.client, "image", "inspect", "--format", "{{.Size}}", tag]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


class BuildFailed(AssertionError):
    """The builder refused; the message is the end of what it said."""


@dataclass(frozen=True, slots=True)
class Container:
    """What is run: always with a read-only root, a fresh /tmp, no capabilities, the host's network."""

    name: str
    image: str
    words: Sequence[str] = ()
    user: str = ""
    entrypoint: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    mounts: Mapping[Path, str] = field(default_factory=dict)
    hosts: Sequence[str] = ()


def find_engine() -> Engine:
    """The first engine that works here; Missing where none does."""
    if os.geteuid() == 0 and all(map(shutil.which, ("buildah", "podman", "runc", "debootstrap"))):
        return _without_engine()
    if _works("docker", "info"):
        return Engine("docker", ("docker", "build"), ("docker", "run"), ("docker",))
    if _works("podman", "info"):
        run = ("podman", "run", "--read-only-tmpfs=false")
        return Engine("podman", ("podman", "build"), run, ("podman",), timestamp="--timestamp")
    raise Missing(
        "nothing here builds images: no docker or podman that answers, and buildah, podman, runc and "
        "debootstrap (with root) are not all there: apt-get install -y --no-install-recommends "
        "buildah debootstrap podman runc"
    )


def _works(*command: str, seconds: float = 20) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, timeout=seconds, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _without_engine() -> Engine:
    """buildah in a chroot and podman over runc: works in a container or a sandbox with root."""
    store = _store("overlay")
    if not _works("buildah", *store, "info"):
        store = _store("vfs")  # a whole copy for each layer: slow and large, and works everywhere
    build = ["buildah", *store, "bud", "--isolation", "chroot", "--network", "host", "--layers"]
    # The format `oci` holds nothing that differs from build to build; `docker` has names of containers in it.
    build += ["--force-rm", "--format", "oci"]
    # What the machine needs to reach a package index holds for the build as well.
    for path in ("/etc/ssl/certs", "/etc/pip.conf"):
        if Path(path).exists():
            build += ["--volume", f"{path}:{path}:ro"]
    base = ""
    if not _has_real_base(store):
        _make_base(store)
        base = BASE_OF_OUR_OWN
        build += ["--pull-never"]
    client = ("podman", *store, "--cgroup-manager", "cgroupfs", "--runtime", "runc")
    # More than a sandbox's own limits cannot be asked for; and podman would make some folders writable.
    limits = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")
    run = (*client, "run", "--read-only-tmpfs=false", *limits)
    name = "buildah and podman without an engine"
    return Engine(name, tuple(build), run, client, base=base, timestamp="--timestamp")


def _store(driver: str) -> tuple[str, ...]:
    """Images and containers of these tests alone, in a folder of their own."""
    folder = STORE / driver
    folder.mkdir(parents=True, exist_ok=True)
    return ("--root", str(folder / "root"), "--runroot", str(folder / "run"), "--storage-driver", driver)


def _has_real_base(store: tuple[str, ...]) -> bool:
    """Whether the Dockerfile's own base is here or can be fetched."""
    (base,) = re.findall(r"^ARG BASE=(\S+)$", DOCKERFILE.read_text(), re.MULTILINE)
    # A tag beside a digest is for people; buildah wants one of them.
    name = re.sub(r":[^@]*@", "@", f"docker.io/library/{base}")
    return _works("buildah", *store, "pull", "--policy", "missing", name, seconds=180)


def _make_base(store: tuple[str, ...]) -> None:
    if _works("buildah", *store, "inspect", "--type", "image", BASE_OF_OUR_OWN):
        return
    folder = STORE / "bookworm"
    shutil.rmtree(folder, ignore_errors=True)
    packages = "python3,python3-venv,python-is-python3,ca-certificates"
    command = ["debootstrap", "--variant=minbase", f"--include={packages}", "bookworm", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildFailed(f"debootstrap: {done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    buildah = ("buildah", *store)
    made = subprocess.run([*buildah, "from", "scratch"], check=True, capture_output=True, text=True)
    name = made.stdout.strip()
    for words in (("add", name, str(folder), "/"), ("commit", "--rm", name, BASE_OF_OUR_OWN)):
        subprocess.run([*buildah, *words], check=True, capture_output=True)
    shutil.rmtree(folder)
