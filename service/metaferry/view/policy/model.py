"""What `policy` gives: the document for the cloud, and each right in it with its reason."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Cloud = Literal["aws", "gcp", "azure"]


@dataclass(frozen=True, slots=True)
class Right:
    """One permission on one resource, under the cloud's own names, and what a run does with it."""

    permission: str
    resource: str
    why: str


@dataclass(frozen=True, slots=True)
class JobPolicy:
    """`document` is what the cloud takes (docs/policy.md says how); `rights` explain it.

    `other_locations` are the locations of the job that are in none of the cloud's buckets.
    """

    cloud: Cloud
    document: dict[str, Any]
    rights: tuple[Right, ...]
    other_locations: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON: `cloud`, `document`, `rights`, `other_locations`."""
        return asdict(self)
