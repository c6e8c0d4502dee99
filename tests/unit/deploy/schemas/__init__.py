"""Schemas of what manifests and the image hold and no library here has a schema for.

Kinds of the Prometheus operator and the list of an image's parts: a file each, with the fields that are used
and no others, so that a field that does not exist is a fault. Used by the tests of deploy/ alone.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate

#: The oldest version of Kubernetes that has everything the manifests use, and a later one.
VERSIONS = ("1.31", "1.34")


@cache
def validator(name: str) -> jsonschema.Draft7Validator:
    """Of the file of that name; FileNotFoundError where there is none."""
    path = Path(__file__).parent / f"{name}.json"
    return jsonschema.Draft7Validator(json.loads(path.read_text(encoding="utf-8")))


def validate_manifest(document: dict[str, Any]) -> None:
    """By the schemas of Kubernetes, each of `VERSIONS`; another's kind by the schema here."""
    if document["apiVersion"].startswith("monitoring.coreos.com/"):
        validator(document["kind"]).validate(document)
        return
    for version in VERSIONS:
        kubernetes_validate.validate(document, version, strict=True)
