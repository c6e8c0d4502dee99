"""Emulators of Google Cloud Storage and Azure that enforce policies.

The emulators themselves let everybody do everything. Here a proxy before them asks which rights a request
needs (`rights.py`), and answers 403 as the store words it where a policy in force does not allow one.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote

from e2e.rights import BUCKETS, Grant, Need, azure_needs, gcs_needs
from servers.azurite import AzureServer
from servers.gcs import gcs
from servers.proxy import Refusal, proxy

Cloud = Literal["gcp", "azure"]

_XML = '<?xml version="1.0" encoding="utf-8"?>'


@dataclass
class Enforcing:
    """An emulator with the three buckets; `options` are those of clients that the policies are in force for.

    `needs` is all that was asked for, `refused` what one of the policies does not allow.
    """

    cloud: Cloud
    endpoint: str
    open_options: dict[str, Any]
    options: dict[str, Any] = field(default_factory=dict)
    policies: tuple[list[Grant], ...] = ()
    needs: list[Need] = field(default_factory=list)
    refused: list[Need] = field(default_factory=list)

    def allow(self, *policies: list[Grant]) -> None:
        """From now on clients may do what each of them allows; what was asked before is forgotten."""
        self.policies, self.needs, self.refused = policies, [], []

    async def decide(self, method: str, target: str) -> Refusal | None:
        try:
            needs = await asyncio.to_thread(self._needs, method, target)
        except ValueError as error:
            return Refusal(501, {}, str(error).encode())
        self.needs += needs
        missing = [
            need
            for need in needs
            if not self.policies or not all(is_allowed(need, each) for each in self.policies)
        ]
        self.refused += missing
        if not missing:
            return None
        return _gcs_refusal(missing[0], target) if self.cloud == "gcp" else _azure_refusal(method)

    def _needs(self, method: str, target: str) -> list[Need]:
        return list(
            gcs_needs(method, target, self._has) if self.cloud == "gcp" else azure_needs(method, target)
        )

    def _has(self, bucket: str, key: str) -> bool:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(f"{self.endpoint}/storage/v1/b/{bucket}/o/{quote(key, safe='')}?fields=name"):
                return True
        except urllib.error.HTTPError as error:
            with error:
                if error.code != 404:
                    raise
                return False


def is_allowed(need: Need, grants: list[Grant]) -> bool:
    return any(grant.allows(need) for grant in grants)


def _gcs_refusal(need: Need, target: str) -> Refusal:
    kind = "bucket" if need.permission in ("storage.objects.list", "storage.buckets.get") else "object"
    message = (
        f"metaferry@tests.iam.gserviceaccount.com does not have {need.permission} access to the Google Cloud "
        f"Storage {kind}. Permission '{need.permission}' denied on resource (or it may not exist)."
    )
    if "alt=media" in target:  # downloads are answered in plain text
        return Refusal(403, {"Content-Type": "text/html; charset=UTF-8"}, message.encode())
    error = {"message": message, "domain": "global", "reason": "forbidden"}
    body = json.dumps({"error": {"code": 403, "message": message, "errors": [error]}})
    return Refusal(403, {"Content-Type": "application/json; charset=UTF-8"}, body.encode())


def _azure_refusal(method: str) -> Refusal:
    code = "AuthorizationPermissionMismatch"
    message = "This request is not authorized to perform this operation using this permission."
    body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    headers = {"Content-Type": "application/xml", "x-ms-error-code": code}
    return Refusal(403, headers, b"" if method == "HEAD" else f"{_XML}{body}".encode())


@contextlib.contextmanager
def enforcing(cloud: Cloud, azure: AzureServer | None) -> Iterator[Enforcing]:
    """The emulator, until the block ends: one of Google's of its own, or `azure`, which is nobody else's."""
    with contextlib.ExitStack() as stack:
        if azure is None:
            google = stack.enter_context(gcs())
            for bucket in BUCKETS:
                google.control(bucket=bucket)
            store = Enforcing(cloud, google.endpoint, google.options)
        else:
            for bucket in BUCKETS:
                azure.make_container(bucket)
            store = Enforcing(cloud, azure.endpoint, azure.options)
        gate = stack.enter_context(proxy(store.endpoint))
        gate.decide = store.decide
        store.options = json.loads(json.dumps(store.open_options).replace(store.endpoint, gate.endpoint))
        yield store
