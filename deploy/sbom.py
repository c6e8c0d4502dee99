"""Lists what an image holds, as CycloneDX 1.6 in JSON: `python sbom.py --packages DIR … --out FILE`.

Python distributions with licenses and dependencies, Debian's packages, the interpreter where it is none of
them, and the system. The list is a function of what is there: no random serial number, and no time but
SOURCE_DATE_EPOCH. Runs in the build of the image, which has `packaging`; the image itself does not.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any
from urllib.parse import quote

from packaging.markers import default_environment
from packaging.requirements import Requirement

#: The image as a component; everything else is a part of it.
ROOT = "metaferry-image"
#: Longer texts in the field `License` are the license itself, not its name.
LONGEST_LICENSE_NAME = 80

Component = dict[str, Any]


def bill_of_materials(
    packages: Path, status: str, os_release: str, epoch: int | None = None
) -> dict[str, Any]:
    """The document. `packages` is a site-packages folder, `status` dpkg's file of that name."""
    found = {normal(each.metadata["Name"]): each for each in distributions(path=[str(packages)])}
    system = dict(re.findall(r'^([A-Z_]+)="?([^"\n]*)"?$', os_release, re.MULTILINE))
    debian = list(debian_components(status, system))
    components = [python_component(name, each) for name, each in sorted(found.items())]
    components += interpreter(debian)
    components += debian
    components.append(
        {
            "type": "operating-system",
            "bom-ref": "operating-system",
            "name": system.get("ID", "unknown"),
            "version": system.get("VERSION_ID", "unknown"),
        }
    )
    edges = dependencies(found)
    needed = {target for targets in edges.values() for target in targets}
    top = sorted(each["bom-ref"] for each in components if each["bom-ref"] not in needed)
    version = found["metaferry"].version
    metadata: dict[str, Any] = {
        "component": {"type": "container", "bom-ref": ROOT, "name": "metaferry", "version": version},
        "tools": {"components": [{"type": "application", "name": "deploy/sbom.py", "version": version}]},
        "properties": [{"name": "metaferry:architecture", "value": platform.machine()}],
    }
    if epoch is not None:
        metadata["timestamp"] = datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    bill: dict[str, Any] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": metadata,
        "components": components,
        "dependencies": [
            {"ref": ROOT, "dependsOn": top},
            *({"ref": ref, "dependsOn": sorted(targets)} for ref, targets in sorted(edges.items())),
        ],
    }
    text = json.dumps(bill, sort_keys=True)
    bill["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, text)}"
    return bill


def normal(name: str) -> str:
    """A distribution's name as package indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def purl(name: str, version: str) -> str:
    return f"pkg:pypi/{normal(name)}@{quote(version, safe='.')}"


def python_component(name: str, distribution: Distribution) -> Component:
    component: Component = {
        "type": "application" if name == "metaferry" else "library",
        "bom-ref": purl(name, distribution.version),
        "name": distribution.metadata["Name"],
        "version": distribution.version,
        "purl": purl(name, distribution.version),
    }
    if licenses := licenses_of(distribution):
        component["licenses"] = licenses
    return component


def licenses_of(distribution: Distribution) -> list[dict[str, Any]]:
    """As the distribution says: the SPDX expression, else the name, else the classifiers."""
    metadata = distribution.metadata
    for expression in metadata.get_all("License-Expression") or []:
        return [{"expression": expression}]
    name = "".join(metadata.get_all("License") or []).strip()
    if name and name.upper() != "UNKNOWN" and "\n" not in name and len(name) <= LONGEST_LICENSE_NAME:
        return [{"license": {"name": name}}]
    classifiers = metadata.get_all("Classifier") or []
    named = [each.rpartition(" :: ")[2] for each in classifiers if each.startswith("License ::")]
    return [{"license": {"name": each}} for each in named]


def dependencies(found: dict[str, Distribution]) -> dict[str, set[str]]:
    """What each distribution requires here, by the markers of its metadata and the extras that are asked for.

    The extras of metaferry itself are those of which everything is there.
    """
    environment = {key: str(value) for key, value in default_environment().items()}
    edges = {purl(name, each.version): set[str]() for name, each in found.items()}
    own = [Requirement(each) for each in found["metaferry"].requires or []]
    extras = {
        extra
        for extra in found["metaferry"].metadata.get_all("Provides-Extra") or []
        if all(
            normal(each.name) in found
            for each in own
            if each.marker
            and not each.marker.evaluate({**environment, "extra": ""})
            and each.marker.evaluate({**environment, "extra": extra})
        )
    }
    waiting = [(name, "") for name in found] + [("metaferry", extra) for extra in sorted(extras)]
    seen = set(waiting)
    while waiting:
        name, extra = waiting.pop()
        distribution = found[name]
        for requirement in map(Requirement, distribution.requires or []):
            marker = requirement.marker
            if marker and not marker.evaluate({**environment, "extra": extra}):
                continue
            target = normal(requirement.name)
            if target not in found:
                continue
            edges[purl(name, distribution.version)].add(purl(target, found[target].version))
            more = {(target, each) for each in requirement.extras} - seen
            seen |= more
            waiting += sorted(more)
    return edges


def interpreter(debian: list[Component]) -> list[Component]:
    """The Python that runs this, unless Debian packaged it."""
    version = platform.python_version()
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    if any(each["name"] == name for each in debian):
        return []
    reference = f"pkg:generic/python@{version}"
    return [
        {
            "type": "application",
            "bom-ref": reference,
            "name": "python",
            "version": version,
            "purl": reference,
            "licenses": [{"expression": "Python-2.0"}],
        }
    ]


def debian_components(status: str, system: dict[str, str]) -> Iterator[Component]:
    """Of dpkg's status file, whose paragraphs hold a package each: those that are installed."""
    family = system.get("ID", "debian")
    for paragraph in status.split("\n\n"):
        fields = dict(re.findall(r"^([A-Za-z-]+): *(.*)$", paragraph, re.MULTILINE))
        if not fields.get("Status", "").endswith(" installed"):
            continue
        name, version = fields["Package"], fields["Version"]
        place = f"arch={fields.get('Architecture', 'all')}&distro={family}-{system.get('VERSION_ID', '')}"
        reference = f"pkg:deb/{family}/{quote(name, safe='')}@{quote(version, safe='')}?{place}"
        yield {
            "type": "library",
            "bom-ref": reference,
            "name": name,
            "version": version,
            "purl": reference,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description="Lists what an image holds, as CycloneDX.")
    parser.add_argument("--packages", type=Path, required=True, help="the site-packages folder")
    parser.add_argument("--debian", type=Path, required=True, help="dpkg's status file")
    parser.add_argument("--os-release", type=Path, required=True, help="the image's /etc/os-release")
    parser.add_argument("--out", type=Path, required=True, help="where the list goes")
    given = parser.parse_args()
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    bill = bill_of_materials(
        given.packages,
        given.debian.read_text(encoding="utf-8"),
        given.os_release.read_text(encoding="utf-8"),
        int(epoch) if epoch else None,
    )
    given.out.write_text(json.dumps(bill, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(f"sbom: {len(bill['components'])} components", flush=True)


if __name__ == "__main__":
    main()
