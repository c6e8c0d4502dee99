"""What a store's error code means here: the row type of the tables in `s3.py`, `gcs.py`
and `azure.py`, and the codes that stores share or that adapters make up themselves."""

from __future__ import annotations

from typing import Final, NamedTuple

from metaferry.errors import (
    Corrupt,
    Denied,
    Expired,
    Protected,
    Scope,
    StorageError,
    Throttled,
    Unavailable,
    Unsupported,
)


class Meaning(NamedTuple):
    """`kind` is the class of our error. The other fields override what the class has.

    scope: whether it concerns one object or all.
    what: what happened, for a sentence: `the object is archived`.
    advice: what to do about it.
    """

    kind: type[StorageError]
    scope: Scope | None = None
    what: str = ""
    advice: str = ""


#: An object in an archive tier, on any store.
ARCHIVED: Final = Meaning(Protected, what="the object is archived", advice="restore it first, or exclude it")

_CLIENT: Final = "check the client or service account in the credentials: the token server refuses it"

#: Refusals of a token server, by the codes of RFC 6749, section 5.2.
OAUTH: Final[dict[str, Meaning]] = {
    "invalid_grant": Meaning(
        Expired,
        what="the token server no longer takes these credentials",
        advice="get new credentials, and check the clock of this machine",
    ),
    "invalid_client": Meaning(Denied, what="the token server does not know this client", advice=_CLIENT),
    "unauthorized_client": Meaning(Denied, what="the client may not have an access token", advice=_CLIENT),
    "invalid_scope": Meaning(Denied, what="the client may not have this access", advice=_CLIENT),
}

#: Codes that several stores share, and our own codes.
COMMON: Final[dict[str, Meaning]] = {
    "InternalError": Meaning(Unavailable),
    "ServiceUnavailable": Meaning(Unavailable),
    "RequestTimeout": Meaning(Unavailable),
    "TooManyRequests": Meaning(Throttled),
    "NotImplemented": Meaning(Unsupported),
    "MethodNotAllowed": Meaning(Unsupported),
    **OAUTH,
    # -- credentials, before any request
    "NoCredentials": Meaning(
        Denied,
        advice="no credentials were found: set them in `storage:`, the environment or a profile, "
        "or `anon: true` for a public bucket",
    ),
    "TokenServer": Meaning(
        Unavailable,
        what="the token server did not answer correctly",
        advice="run again later; if it happens again, check that this machine can reach the token server",
    ),
    "UnknownTenant": Meaning(
        Denied, what="the token server knows no such tenant", advice="check tenant_id (AZURE_TENANT_ID)"
    ),
    "UnknownClient": Meaning(
        Denied,
        what="the token server knows no such client",
        advice="check client_id (AZURE_CLIENT_ID), and that it belongs to the tenant",
    ),
    "WrongClientSecret": Meaning(
        Denied,
        what="the token server refuses the client or its secret",
        advice="check client_id and client_secret: the secret may be wrong or have expired",
    ),
    "BadAnswer": Meaning(
        Corrupt,
        what="the answer is incomplete, or does not come from the store",
        advice="run again; if it happens again, check whether a proxy or a login page answers for the store",
    ),
    "CertificateError": Meaning(
        Denied, advice="the endpoint's certificate is not trusted: check endpoint_url and the CA bundle"
    ),
    "TooManyRedirects": Meaning(
        Unsupported,
        Scope.ALL,
        what="too many redirects",
        advice="check the URL: the cause is often a login page",
    ),
    "Redirected": Meaning(
        Unsupported,
        Scope.ALL,
        what="the store redirects to an address that is not followed",
        advice="set the address that it redirects to (https:// for http://, another endpoint_url). With "
        "`follow_redirects: true` in `storage:` redirects are followed, but never from https to http, never "
        "with credentials to another host, and not more than five times",
    ),
    "InvalidOptions": Meaning(
        Unsupported,
        Scope.ALL,
        advice="check the names and values of the options for this location: its library refuses them",
    ),
    "WrongETag": Meaning(
        Corrupt,
        what="the put was answered with the checksum of other bytes",
        advice="check the proxies between this machine and the store",
    ),
    # -- error numbers of the operating system
    "EACCES": Meaning(Denied, Scope.EITHER),
    "EPERM": Meaning(Denied, Scope.EITHER),
    "PermissionError": Meaning(Denied, Scope.EITHER),
    "EROFS": Meaning(Denied),
    "ENOSPC": Meaning(Unsupported, advice="free some space on the device and run again"),
    "EDQUOT": Meaning(Unsupported, advice="the quota is used up: free some space and run again"),
    "ENAMETOOLONG": Meaning(
        Unsupported,
        what="this file system cannot hold a name that long",
        advice="give the media a shorter name",
    ),
    "ENOTDIR": Meaning(
        Unsupported,
        what="a file is in the place of a folder",
        advice="move that file away, or rename the media",
    ),
    "EISDIR": Meaning(
        Unsupported,
        what="a folder is in the place of the file",
        advice="move that folder away, or rename the media",
    ),
}
