"""The list of an image's parts: what it names, what it leaves out, and that it is the same each time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest

from unit.deploy.schemas import validator

SCRIPT = Path(__file__).parents[3] / "deploy/sbom.py"
STATUS = """Package: tini
Status: install ok installed
Architecture: amd64
Version: 0.19.0-1+b3
Description: tiny but valid init
 for containers

Package: libstdc++6
Status: install ok installed
Architecture: amd64
Version: 12.2.0-14+deb12u1

Package: gone
Status: deinstall ok config-files
Architecture: all
Version: 1.0
"""
OS_RELEASE = 'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n'


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A site-packages folder: metaferry with an extra of which all is there, and one of which nothing is."""
    folder = tmp_path / "site-packages"
    for name, version, more in (
        (
            "metaferry",
            "0.1.0",
            "License-Expression: Apache-2.0\nProvides-Extra: otlp\nProvides-Extra: dask\n"
            "Requires-Dist: PyYAML>=6\nRequires-Dist: old-thing; python_version < '3'\n"
            "Requires-Dist: Open_Telemetry[grpc]; extra == 'otlp'\n"
            "Requires-Dist: distributed; extra == 'dask'\n",
        ),
        ("PyYAML", "6.0.2", "License: MIT\n"),
        ("open.telemetry", "1.30+local", "Requires-Dist: grpcio; extra == 'grpc'\nProvides-Extra: grpc\n"),
        ("grpcio", "1.70", "Classifier: License :: OSI Approved :: Apache Software License\n"),
        ("alone", "2", f"License: {'a long text ' * 20}\n"),
    ):
        info = folder / f"{name}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n{more}\n")
    return folder


def listed(packages: Path, folder: Path, epoch: str = "") -> dict[str, Any]:
    (folder / "status").write_text(STATUS)
    (folder / "os-release").write_text(OS_RELEASE)
    out = folder / "sbom.json"
    command = [sys.executable, str(SCRIPT), "--packages", str(packages), "--debian", str(folder / "status")]
    command += ["--os-release", str(folder / "os-release"), "--out", str(out)]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": epoch, "PYTHONHASHSEED": "random"}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    bill: dict[str, Any] = json.loads(out.read_text())
    validator("CycloneDX").validate(bill)
    return bill


def test_it_names_packages_of_python_and_debian_with_licenses(packages: Path, tmp_path: Path) -> None:
    bill = listed(packages, tmp_path, "1764000000")
    assert bill["metadata"]["timestamp"] == "2025-11-24T16:00:00Z"
    parts = {part["bom-ref"]: part for part in bill["components"]}
    assert len(parts) == len(bill["components"])
    licenses = {name: part["licenses"] for name, part in parts.items() if "licenses" in part}
    assert licenses["pkg:pypi/metaferry@0.1.0"] == [{"expression": "Apache-2.0"}]
    assert licenses["pkg:pypi/pyyaml@6.0.2"] == [{"license": {"name": "MIT"}}]
    assert licenses["pkg:pypi/grpcio@1.70"] == [{"license": {"name": "Apache Software License"}}]
    assert "pkg:pypi/alone@2" not in licenses
    assert {name for name in parts if name.startswith("pkg:deb/")} == {
        "pkg:deb/debian/tini@0.19.0-1%2Bb3?arch=amd64&distro=debian-12",
        "pkg:deb/debian/libstdc%2B%2B6@12.2.0-14%2Bdeb12u1?arch=amd64&distro=debian-12",
    }
    assert parts["operating-system"]["version"] == "12"


def test_it_says_what_requires_what_by_markers_and_extras(packages: Path, tmp_path: Path) -> None:
    edges = {edge["ref"]: edge["dependsOn"] for edge in listed(packages, tmp_path)["dependencies"]}
    telemetry = "pkg:pypi/open-telemetry@1.30%2Blocal"
    assert edges["pkg:pypi/metaferry@0.1.0"] == [telemetry, "pkg:pypi/pyyaml@6.0.2"]
    assert edges[telemetry] == ["pkg:pypi/grpcio@1.70"]
    top = edges["metaferry-image"]
    assert {"pkg:pypi/metaferry@0.1.0", "pkg:pypi/alone@2", "operating-system"} <= set(top)
    assert "pkg:pypi/pyyaml@6.0.2" not in top


def test_it_is_a_function_of_what_is_there(packages: Path, tmp_path: Path) -> None:
    first, second = (listed(packages, tmp_path) for _ in range(2))
    assert first == second
    assert "timestamp" not in first["metadata"], "without a time that is given there is none"
    assert listed(packages, tmp_path, "1")["serialNumber"] != first["serialNumber"]


def test_it_lists_all_of_an_environment(tmp_path: Path) -> None:
    packages = Path(sysconfig.get_path("purelib"))
    bill = listed(packages, tmp_path)
    found = {part["bom-ref"] for part in bill["components"] if part["bom-ref"].startswith("pkg:pypi/")}
    names = {each.metadata["Name"] for each in distributions(path=[str(packages)])}
    assert len(found) == len({name.lower().replace("_", "-").replace(".", "-") for name in names}) > 50
    refs = {part["bom-ref"] for part in bill["components"]} | {"metaferry-image"}
    for edge in bill["dependencies"]:
        assert {edge["ref"], *edge["dependsOn"]} <= refs
