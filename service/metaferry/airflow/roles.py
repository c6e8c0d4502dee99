"""Roles and impersonated service accounts of Airflow's connections: another identity for a limited time.

What stands for another identity in the options of a connection is exchanged here for credentials of that
identity, by one request to the cloud's token service. Those of an impersonated service account renew
themselves. Those of a role of AWS last as long as the connection says, an hour by default, and are not
renewed: a run that takes longer ends with an error when they have expired, and the retry of its task does
what is missing. Nothing here imports Airflow.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from metaferry.errors import Denied, MetaferryError, Unavailable

#: The entry of the options that names another identity; never an option of fsspec.
ROLE: Final = "metaferry-role"
_GCS_SCOPE: Final = "https://www.googleapis.com/auth/devstorage.read_write"
_LIFETIME: Final = 3600


def exchanged(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with the credentials of the role that they name, and as they are where they name none.

    Raises Denied where the role may not be taken, Unavailable where the token service does not answer.
    """
    given = dict(options)
    role = given.pop(ROLE, None)
    if role is None:
        return given
    return _of_aws(given, role) if "RoleArn" in role else _of_google(given, role)


def session_name(connection: str) -> str:
    """The name under which the role's requests are logged, as Airflow's own provider makes it."""
    return re.sub(r"[^\w+=,.@-]+", "", f"Airflow_{connection}", flags=re.ASCII)[:64]


def _of_aws(options: dict[str, Any], role: Mapping[str, Any]) -> dict[str, Any]:
    import botocore.session
    from botocore.exceptions import BotoCoreError, ClientError

    arguments = {name: value for name, value in role.items() if name != "endpoint_url"}
    try:
        session = botocore.session.Session(profile=options.get("profile"))
        client = session.create_client(
            "sts",
            region_name=(options.get("client_kwargs") or {}).get("region_name"),
            endpoint_url=role.get("endpoint_url"),
            verify=(options.get("client_kwargs") or {}).get("verify"),
            aws_access_key_id=options.get("key"),
            aws_secret_access_key=options.get("secret"),
            aws_session_token=options.get("token"),
        )
        try:
            found = client.assume_role(**arguments)["Credentials"]
        finally:
            client.close()
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        raise _refused("role", str(error.response.get("Error", {}).get("Code", "")), status) from None
    except BotoCoreError as error:
        raise _refused("role", type(error).__name__, None) from None
    # The profile told who asks; from here on it is the role that does.
    kept = {name: value for name, value in options.items() if name != "profile"}
    return kept | {
        "key": found["AccessKeyId"],
        "secret": found["SecretAccessKey"],
        "token": found["SessionToken"],
    }


def _of_google(options: dict[str, Any], role: Mapping[str, Any]) -> dict[str, Any]:
    import google.auth
    from google.auth import impersonated_credentials
    from google.auth.exceptions import GoogleAuthError, TransportError
    from google.auth.transport.requests import Request
    from google.oauth2 import service_account

    *delegates, target = role["chain"]
    token = options.get("token")
    scopes = ["https://www.googleapis.com/auth/iam"]
    try:
        if isinstance(token, Mapping):
            source = service_account.Credentials.from_service_account_info(dict(token), scopes=scopes)
        elif token == "google_default":
            source, _ = google.auth.default(scopes=scopes)
        else:
            source = service_account.Credentials.from_service_account_file(token, scopes=scopes)
        taken = impersonated_credentials.Credentials(
            source, target, [_GCS_SCOPE], delegates=delegates or None, lifetime=_LIFETIME
        )
        taken.refresh(Request())
    except TransportError as error:
        raise _refused("service account", type(error).__name__, None) from None
    except (GoogleAuthError, ValueError, OSError) as error:
        retryable = bool(getattr(error, "retryable", False))
        raise _refused("service account", type(error).__name__, None if retryable else 403) from None
    return options | {"token": taken}  # gcsfs renews it by itself, and so does a process that it is sent to


def _refused(what: str, code: str, status: int | None) -> MetaferryError:
    """By status and code alone: the text of libraries quotes names and requests."""
    if status is None or status >= 500 or status == 429:
        return Unavailable(f"the {what} of the connection cannot be taken: {code}", code=code, status=status)
    return Denied(
        f"the {what} of the connection may not be taken: {code}",
        code=code,
        status=status,
        advice=f"let the identity of the connection, or of the worker, take the {what}",
    )
