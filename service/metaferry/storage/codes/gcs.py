"""What the reasons in errors of Google's JSON API mean here.

Source: https://cloud.google.com/storage/docs/json_api/v1/status-codes. A hold is documented as
`objectUnderActiveHold` and answered as `forbidden`, the reason of a missing right: `gcs/requests.py` tells
the two apart by the text, and gives the documented word.
"""

from __future__ import annotations

from typing import Final

from metaferry.errors import Conflict, Denied, Expired, Protected, Scope, Throttled, Unavailable, Unsupported
from metaferry.storage.codes.meaning import Meaning

#: The documented reason of an object under a hold.
HELD: Final = "objectUnderActiveHold"

#: The documented reason of a bucket whose requester pays, asked without a project.
PAYER_MISSING: Final = "userProjectMissing"

_PAYS: Final = (
    "the requester pays here: set requester_pays to the project that pays, or to true beside project"
)

GCS: Final[dict[str, Meaning]] = {
    # -- throttling
    "rateLimitExceeded": Meaning(Throttled),
    "userRateLimitExceeded": Meaning(Throttled),
    # -- transient
    "backendError": Meaning(Unavailable),
    "internalError": Meaning(Unavailable),
    # -- credentials and rights
    "authError": Meaning(Expired),
    "forbidden": Meaning(Denied, Scope.EITHER),
    "insufficientPermissions": Meaning(Denied),
    "accountDisabled": Meaning(Denied),
    "accessNotConfigured": Meaning(Denied),
    "projectDisabled": Meaning(Denied),
    "userProjectAccountProblem": Meaning(Denied, advice=_PAYS),
    "userProjectAccessDenied": Meaning(Denied, advice=_PAYS),
    # -- the object in place
    "conditionNotMet": Meaning(Conflict),
    # -- one object
    HELD: Meaning(Protected, advice="a hold protects the object: whoever placed it has to release it"),
    "retentionPolicyNotMet": Meaning(
        Protected, advice="a retention policy protects the object until its time is over"
    ),
    # -- never possible
    "quotaExceeded": Meaning(
        Unsupported,
        Scope.ALL,
        what="a quota is used up",
        advice="have the quota raised, or run again when it is renewed",
    ),
    PAYER_MISSING: Meaning(Unsupported, Scope.ALL, advice=_PAYS),
}
