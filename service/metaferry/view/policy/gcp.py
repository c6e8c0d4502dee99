"""Custom roles and conditional bindings of Google Cloud IAM. Pure.

Permissions: https://cloud.google.com/storage/docs/access-control/iam-permissions; attributes of conditions:
https://cloud.google.com/iam/docs/conditions-attribute-reference. A key of KMS is used by the service agent of
Cloud Storage, so its rights are none of whoever writes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from metaferry.view.policy.accesses import Access
from metaferry.view.policy.model import Right

#: By what is done. To replace an object is to create one and to delete one.
_PERMISSIONS: Final[dict[str, tuple[str, ...]]] = {
    "list": ("storage.objects.list",),
    "read": ("storage.objects.get",),
    "write": ("storage.objects.create", "storage.objects.delete"),
    "delete": ("storage.objects.delete",),
}
_ROLES: Final = {
    "list": ("metaferryLister", "metaferry lister", "Lists media, tables and documents."),
    "read": ("metaferryReader", "metaferry reader", "Reads media, tables and documents."),
    "write": ("metaferryWriter", "metaferry writer", "Writes, replaces and deletes documents and state."),
    "delete": ("metaferryDeleter", "metaferry deleter", "Deletes documents."),
}
#: A condition may have 12 operators.
_TERMS: Final = 12


def gcp_policy(accesses: Sequence[Access]) -> tuple[dict[str, Any], list[Right]]:
    """`{roles: {id: role}, bindings: [{bucket, role, condition}]}`, and the rights one by one."""
    wanted = [each for each in accesses if not _is_covered(each, accesses)]
    rights = [
        Right(permission, _resource(each), each.why if permission != "storage.objects.delete" else _why(each))
        for each in wanted
        for permission in _PERMISSIONS[each.verb]
    ]
    roles = {
        _ROLES[verb][0]: {
            "title": _ROLES[verb][1],
            "description": _ROLES[verb][2],
            "stage": "GA",
            "includedPermissions": list(_PERMISSIONS[verb]),
        }
        for verb in dict.fromkeys(each.verb for each in wanted)
    }
    return {"roles": roles, "bindings": list(_bindings(wanted))}, rights


def _is_covered(each: Access, accesses: Sequence[Access]) -> bool:
    """Whoever may replace objects may delete them."""
    if each.verb != "delete":
        return False
    writes = [other for other in accesses if other.verb == "write" and other.bucket == each.bucket]
    return any(not other.exact and (each.prefix or "").startswith(other.prefix or "") for other in writes)


def _why(each: Access) -> str:
    return f"{each.why}: to replace an object is to delete it too" if each.verb == "write" else each.why


def _resource(each: Access) -> str:
    bucket = f"projects/_/buckets/{each.bucket}"
    if each.verb == "list":
        return bucket + each.below
    return f"{bucket}/objects/{each.prefix or ''}" + ("" if each.exact else "*")


def _bindings(accesses: Sequence[Access]) -> Iterator[dict[str, Any]]:
    grouped: dict[tuple[str, str], list[Access]] = {}
    for each in accesses:
        grouped.setdefault((each.bucket, each.verb), []).append(each)
    for (bucket, verb), group in grouped.items():
        binding = {"bucket": f"gs://{bucket}", "role": _ROLES[verb][0]}
        if any(not each.prefix for each in group):
            yield binding
            continue
        for part in (group[at : at + _TERMS] for at in range(0, len(group), _TERMS)):
            yield {
                **binding,
                "condition": {
                    "title": f"only what {_ROLES[verb][1]} needs",
                    "expression": " || ".join(map(_term, part)),
                },
            }


def _term(each: Access) -> str:
    # JSON's escapes are those of a text in CEL.
    if each.verb == "list":
        prefix = json.dumps(each.prefix, ensure_ascii=False)
        attribute = 'api.getAttribute("storage.googleapis.com/objectListPrefix", "")'
        return f"{attribute} == {prefix}" if each.exact else f"{attribute}.startsWith({prefix})"
    name = json.dumps(f"projects/_/buckets/{each.bucket}/objects/{each.prefix}", ensure_ascii=False)
    return f"resource.name == {name}" if each.exact else f"resource.name.startsWith({name})"
