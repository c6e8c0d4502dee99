"""The shell of docs/policy.md, run as it stands against an `az` and a `gcloud` that only remember."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import metaferry

PAGE = Path(__file__).parents[4] / "docs/policy.md"
REMEMBER = """#!{python}
import json, os, sys
words = sys.argv[1:]
for at, word in enumerate(words):
    if word in ("--condition-from-file", "--file"):
        words[at + 1] = json.load(open(words[at + 1]))
with open("calls", "a") as calls:
    print(json.dumps(words), file=calls)
if words[:3] == ["role", "definition", "list"]:
    print(int(words[words.index("--name") + 1] in os.environ["THERE"].split(";")))
"""
ENVIRONMENT = {
    "SUBSCRIPTION": "00000000-aaaa",
    "GROUP": "fleet-group",
    "ACCOUNT": "fleet",
    "PRINCIPAL": "app",
    "PROJECT": "fleet-project",
    "THERE": "",
}


def calls(folder: Path, scheme: str, program: str, **more: str) -> list[list[object]]:
    """What the block that uses a program calls it with, for a job on three buckets."""
    if not shutil.which("jq") or not shutil.which("bash"):
        pytest.skip("the blocks of docs/policy.md are for bash and jq: apt-get install jq")
    (block,) = [
        each
        for each in re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
        if re.search(rf"^ *{program} ", each, re.MULTILINE)
    ]
    (folder / "job.yaml").write_text(
        yaml.safe_dump(
            {
                "input": f"{scheme}://media/x",
                "lightly": f"{scheme}://out/y",
                "sources": [{"table": f"{scheme}://tables/t.csv", "frame": "n"}],
            }
        )
    )
    tools = folder / "tools"
    tools.mkdir()
    (tools / program).write_text(REMEMBER.format(python=sys.executable))
    (tools / "metaferry").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m metaferry "$@"\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    environment = {
        **os.environ,
        **ENVIRONMENT,
        **more,
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(Path(metaferry.__file__).parents[1]),
    }
    if program == "gcloud":
        environment["ACCOUNT"] = "metaferry@fleet-project.iam.gserviceaccount.com"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in (folder / "calls").read_text().splitlines()]


def option(call: list[object], name: str) -> object:
    return call[call.index(name) + 1] if name in call else None


def test_azure_has_each_role_made_before_it_is_assigned(tmp_path: Path) -> None:
    found = calls(tmp_path, "az", "az")
    created = [each for each in found if each[:3] == ["role", "definition", "create"]]
    made = [json.loads(str(option(each, "--role-definition"))) for each in created]
    assigned = [each for each in found if each[:3] == ["role", "assignment", "create"]]
    assert [option(each, "--role") for each in assigned] == [role["Name"] for role in made]
    assert [role["AssignableScopes"] for role in made] == [["/subscriptions/00000000-aaaa"]] * 3
    for each in assigned:
        scope = str(option(each, "--scope"))
        assert re.search(r"^/subscriptions/00000000-aaaa/resourceGroups/fleet-group/.*/fleet/.*/\w+$", scope)
        assert str(option(each, "--role")).endswith(f" on fleet/{scope.rpartition('/')[2]}")
    (limited,) = [each for each in assigned if "--condition" in each]
    assert "StringStartsWith 'y/.lightly/metadata/'" in str(option(limited, "--condition"))
    assert option(limited, "--condition-version") == "2.0"


def test_a_role_of_azure_that_is_there_is_not_made_again(tmp_path: Path) -> None:
    there = "metaferry read on fleet/media"
    found = calls(tmp_path, "az", "az", THERE=there)
    made = [str(option(each, "--role-definition")) for each in found if each[:2] == ["role", "definition"]]
    assert there not in [json.loads(text)["Name"] for text in made if text != "None"]
    assert there in [option(each, "--role") for each in found], "it is assigned all the same"


def test_google_has_roles_and_bindings_with_their_conditions(tmp_path: Path) -> None:
    found = calls(tmp_path, "gs", "gcloud")
    made = [each for each in found if each[:3] == ["iam", "roles", "create"]]
    bound = [each for each in found if each[:2] == ["storage", "buckets"]]
    assert {option(each, "--role") for each in bound} == {
        f"projects/fleet-project/roles/{each[3]}" for each in made
    }
    for each in made:
        about = option(each, "--file")
        assert isinstance(about, dict)
        assert about["includedPermissions"]
    assert {each[3] for each in bound} == {"gs://media", "gs://out", "gs://tables"}
    for each in bound:
        condition = option(each, "--condition-from-file")
        assert option(each, "--condition") == "None" or (
            isinstance(condition, dict) and condition["expression"]
        )
