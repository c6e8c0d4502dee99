"""docker-compose.yml: what the schema of compose says of it, and what the schema cannot know."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from image.compose import FILE, services
from image.engine import ROOT

SERVICES = services()


def test_it_is_a_compose_file() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_compose_itself_accepts_it() -> None:
    for command in (["docker", "compose"], ["docker-compose"]):
        if (
            shutil.which(command[0])
            and not subprocess.run([*command, "version"], capture_output=True).returncode
        ):
            done = subprocess.run(
                [*command, "-f", str(FILE), "config", "-q"], capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            return
    pytest.skip("there is neither docker compose nor docker-compose here")


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_may_do_nothing_it_does_not_need(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["tmpfs"] == ["/tmp"]
    assert "mem_limit" in service
    assert re.fullmatch(r"[a-z-]+:[0-9]+\.[0-9]+\.[0-9]+", service["image"]), "no tag that moves"
    for port in service.get("ports", ()):
        assert port.startswith("127.0.0.1:")


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_stands_on_is_there(name: str) -> None:
    service = SERVICES[name]
    for volume in service.get("volumes", ()):
        assert (ROOT / volume.split(":")[0]).is_file()
    for word in service["command"]:
        assert not word.startswith("deploy/") or (ROOT / word).is_file()
    waits: dict[str, Any] = service.get("depends_on", {})
    for other, how in waits.items():
        if how["condition"] == "service_healthy":
            assert SERVICES[other]["healthcheck"]["test"][0] == "CMD"
        else:
            assert SERVICES[other]["restart"] == "no", "who waits for its end waits for ever"


def test_plain_up_seeds_and_runs_on_every_store_and_the_loop_waits_to_be_asked() -> None:
    plain = {name for name, service in SERVICES.items() if "profiles" not in service}
    assert plain == {"s3", "gcs", "azure", "seed", "sync-s3", "sync-gcs", "sync-azure"}
    assert SERVICES["schedule"]["profiles"] == ["schedule"]
    assert SERVICES["schedule"]["command"][0] == "serve"


@pytest.mark.servers
@pytest.mark.parametrize("name", ["s3", "gcs", "azure"])
def test_the_emulators_start_with_their_commands(name: str) -> None:
    from servers.process import answers, free_port, server

    port = str(free_port())
    (listens,) = (word for word in SERVICES[name]["command"] if word.isdecimal())
    command = [port if word == listens else word for word in SERVICES[name]["command"]]
    command[0] = sys.executable if command[0] == "python" else str(Path(sys.executable).parent / command[0])
    url = f"http://127.0.0.1:{port}/" + ("storage/v1/b/demo/o" if name == "gcs" else "")
    statuses = range(200, 300) if name == "gcs" else range(200, 500)
    env = {"PYTHONPATH": str(ROOT / "tests")}
    with server(command, ready=lambda: answers(url, statuses=statuses), cwd=ROOT, env=env):
        pass


@pytest.mark.parametrize("name", [name for name, service in SERVICES.items() if "healthcheck" in service])
def test_words_of_a_health_check_have_no_spaces(name: str) -> None:
    """podman 4 takes them apart there when compose asks it, and the service is never healthy."""
    kind, *words = SERVICES[name]["healthcheck"]["test"]
    assert kind == "CMD"
    assert [word for word in words if re.search(r"\s", word)] == []
    compile(words[-1], name, "eval")
