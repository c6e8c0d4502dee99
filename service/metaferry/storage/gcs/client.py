"""What gcsfs gives: a file system for options, the address of uploads, and what its failures mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from metaferry.errors import Expired, Unavailable
from metaferry.storage.codes.meaning import OAUTH
from metaferry.storage.errors import Failure

#: What google-auth raises over an answer of a token server that is something else.
NOT_UNDERSTOOD: Final = (AttributeError, KeyError, TypeError, ValueError)


def file_system(options: Mapping[str, Any]) -> Any:
    """gcsfs's file system; looking for credentials may ask the metadata service. Raises anything."""
    # Not `gcsfs.GCSFileSystem`: the newer class asks for the bucket's type over gRPC first, which
    # took more than a minute a put where that was blocked.
    from gcsfs.core import GCSFileSystem

    given = {**options, "asynchronous": True, "skip_instance_cache": True, "use_listings_cache": False}
    return GCSFileSystem(**given)


def upload_base(fs: Any) -> str:
    """Where uploads go, with a `/` at its end."""
    return f"{fs._location}/upload/storage/v1/"


def auth_failure(error: Exception) -> Failure:
    """Of what was raised while an access token was to be got: by google-auth, or by gcsfs for it.

    A token server that cannot be reached, or answers something that is no answer of one, is a passing
    fault; google-auth reads a login page as if it were the answer, hence TypeError and its like. What it
    refuses is named by the code of RFC 6749, section 5.2.
    """
    from google.auth.exceptions import GoogleAuthError, RefreshError, TransportError

    cause = error if isinstance(error, GoogleAuthError) else error.__cause__
    if isinstance(cause, RefreshError):
        answer = cause.args[1] if len(cause.args) > 1 else None
        code = answer.get("error") if isinstance(answer, Mapping) else None
        if isinstance(code, str) and code in OAUTH:
            return Failure(401, code)
        strange = isinstance(answer, Mapping) and "error" not in answer  # an answer without a token
        return _passing() if strange or cause.retryable else Failure(401, "RefreshError")
    if isinstance(cause, GoogleAuthError):
        passing = isinstance(cause, TransportError) or cause.retryable
        return _passing() if passing else Failure(code=type(cause).__name__, kind=Expired)
    return _passing() if isinstance(error, NOT_UNDERSTOOD) else Failure(401, "RefreshError")


def _passing() -> Failure:
    return Failure(code="TokenServer", kind=Unavailable)
