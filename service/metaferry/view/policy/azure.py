"""Role definitions of Azure, and assignments with conditions on the paths of blobs. Pure.

Actions: https://learn.microsoft.com/azure/role-based-access-control/permissions/storage; conditions:
https://learn.microsoft.com/azure/storage/blobs/storage-auth-abac-attributes. To list blobs is to read them
there, so both are a right on the container. A key of Key Vault is used by the account, not by who writes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from metaferry.errors import UsageError
from metaferry.view.policy.accesses import Access
from metaferry.view.policy.model import Right

BLOBS: Final = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs"
#: Whoever creates the roles puts the subscription in here.
SCOPE: Final = "/subscriptions/SUBSCRIPTION"
_CHANGES: Final = ("write", "delete")


def azure_policy(accesses: Sequence[Access]) -> tuple[dict[str, Any], list[Right]]:
    """`{roles: {name: definition}, assignments: [{role, scope, condition}]}`, and the rights one by one."""
    rights: list[Right] = []
    assignments: list[dict[str, Any]] = []
    names: dict[str, list[str]] = {}
    for account, container in dict.fromkeys((each.account, each.bucket) for each in accesses):
        here = [each for each in accesses if (each.account, each.bucket) == (account, container)]
        reasons = dict.fromkeys(each.why for each in here if each.verb in ("list", "read"))
        place = f"container {container}"
        if reasons:
            rights.append(Right(f"{BLOBS}/read", place, "; ".join(reasons)))
        tags = dict.fromkeys(each.why for each in here if each.verb == "tags")
        if tags:
            rights.append(Right(f"{BLOBS}/tags/read", place, "; ".join(tags)))
        changes = [each for each in here if each.verb in _CHANGES]
        rights += [Right(f"{BLOBS}/{each.verb}", f"{place}, {_below(each)}", each.why) for each in changes]
        verbs = [verb for verb in _CHANGES if any(each.verb == verb for each in changes)]
        reads = [*(["read"] if reasons else []), *(["tags/read"] if tags else [])]
        actions = [f"{BLOBS}/{verb}" for verb in reads + verbs]
        # Names of roles are unique in a tenant, and those of accounts in the world: one name is one role.
        role = f"metaferry {', '.join(reads + verbs)} on {account or 'ACCOUNT'}/{container}"
        names[role] = actions
        assignment = {"role": role, "scope": _scope(account, container)}
        if changes:
            assignment["condition"] = " AND ".join(_only(verb, changes) for verb in verbs)
        assignments.append(assignment)
    return {
        "roles": {name: _role(name, actions) for name, actions in names.items()},
        "assignments": assignments,
    }, rights


def _role(name: str, actions: list[str]) -> dict[str, Any]:
    changes = any(action.endswith(_CHANGES) for action in actions)
    what = "Lists and reads blobs" + (", writes and deletes them" if changes else "")
    return {
        "Name": name,
        "IsCustom": True,
        "Description": f"{what}; assigned on containers, under the condition where there is one.",
        "Actions": [],
        "NotActions": [],
        "DataActions": actions,
        "NotDataActions": [],
        "AssignableScopes": [SCOPE],
    }


def _only(verb: str, changes: Sequence[Access]) -> str:
    """`(!(ActionMatches{write}) OR (path StringStartsWith 'a/' OR …))`."""
    terms = " OR ".join(
        f"@Resource[{BLOBS}:path] {'StringEquals' if each.exact else 'StringStartsWith'} "
        f"'{_quotable(each.prefix or '')}'"
        for each in changes
        if each.verb == verb
    )
    return f"(!(ActionMatches{{'{BLOBS}/{verb}'}}) OR ({terms}))"


def _quotable(path: str) -> str:
    if "'" in path or "\\" in path:
        raise UsageError(
            f"a condition of Azure cannot hold the path {path!r}",
            advice="grant Storage Blob Data Contributor on the container, or use a prefix without ' and \\",
        )
    return path


def _below(each: Access) -> str:
    return f"blob {each.prefix}" if each.exact else f"blobs below {each.prefix or '/'}"


def _scope(account: str, container: str) -> str:
    return (
        f"{SCOPE}/resourceGroups/GROUP/providers/Microsoft.Storage/storageAccounts/{account or 'ACCOUNT'}"
        f"/blobServices/default/containers/{container}"
    )
