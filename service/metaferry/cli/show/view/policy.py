"""A policy for people: the document as its cloud takes it, and what each right is for. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.text import Text

from metaferry.cli.show.text import safe

if TYPE_CHECKING:
    from metaferry.view.policy.model import JobPolicy


def policy_lines(found: JobPolicy) -> Iterator[str | Text]:
    """The document alone, so that it can be redirected into a file."""
    yield from (Text(line) for line in json.dumps(found.document, indent=2, ensure_ascii=False).split("\n"))


def reason_lines(found: JobPolicy) -> Iterator[str]:
    """One line a right, and what the policy is not about."""
    for right in found.rights:
        yield f"{safe(right.permission)} on {safe(right.resource)}: {safe(right.why)}"
    for url in found.other_locations:
        yield f"not in this policy: {safe(url)}"
