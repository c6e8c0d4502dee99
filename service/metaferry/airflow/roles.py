"""Roles and impersonated service accounts of Airflow's connections: another identity for a limited time.

What stands for another identity in the options of a connection is exchanged here for credentials of that
identity, by one request to the cloud's token service. Those of an impersonated service account renew
themselves. Those of a role of AWS last as long as the connection says, an hour by default: each of the three
texts knows the role, which is taken again when a store says that they have expired, as a file with a secret
is read again. Nothing here imports Airflow.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Self

from metaferry.errors import Denied, MetaferryError, Unavailable
from metaferry.masking import remember_text
from metaferry.secret_files import RenewableText, SecretFileError

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
    if "RoleArn" not in role:
        return _of_google(given, role)
    # The profile told who asks; from here on it is the role that does.
    kept = {name: value for name, value in given.items() if name != "profile"}
    return kept | _AwsRole(given, role).texts()


def session_name(connection: str) -> str:
    """The name under which the role's requests are logged, as Airflow's own provider makes it."""
    return re.sub(r"[^\w+=,.@-]+", "", f"Airflow_{connection}", flags=re.ASCII)[:64]


class _AwsRole:
    """A role, who may take it, and the credentials of the last time that it was taken."""

    def __init__(self, options: Mapping[str, Any], role: Mapping[str, Any]) -> None:
        self._options = dict(options)
        self._role = dict(role)
        self._lock = threading.Lock()
        self._taken = 0
        self._found: dict[str, str] = {}
        self._until = datetime.min.replace(tzinfo=UTC)

    def __repr__(self) -> str:
        return "_AwsRole(…)"

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state)
        self._lock = threading.Lock()

    def texts(self, *, after: int = 0) -> dict[str, _RoleText]:
        """Options of s3fs: taken anew where those of the time `after` are the newest, or are over.

        All stores of a run share the role, so that one request serves them. Raises Denied and Unavailable.
        """
        with self._lock:
            if self._taken <= after or datetime.now(UTC) >= self._until:
                found = _taken(self._options, self._role)
                self._found = {
                    "key": found["AccessKeyId"],
                    "secret": found["SecretAccessKey"],
                    "token": found["SessionToken"],
                }
                self._until = found["Expiration"]
                self._taken += 1
            return {name: _RoleText(text, name, self._taken, self) for name, text in self._found.items()}


class _RoleText(RenewableText):
    """One of the three texts; `taken` is the time at which the role was taken for it."""

    def __new__(cls, text: str, name: str, taken: int, role: _AwsRole) -> Self:
        remember_text(text)
        made = super().__new__(cls, text)
        made._name, made._taken, made._role = name, taken, role
        return made

    _name: str
    _taken: int
    _role: _AwsRole

    def __reduce__(self) -> tuple[Any, ...]:
        return _RoleText, (str(self), self._name, self._taken, self._role)

    def again(self) -> _RoleText:
        try:
            return self._role.texts(after=self._taken)[self._name]
        except MetaferryError as error:
            raise SecretFileError(error.message) from None


def _taken(options: Mapping[str, Any], role: Mapping[str, Any]) -> dict[str, Any]:
    """What STS answers."""
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
            found: dict[str, Any] = client.assume_role(**arguments)["Credentials"]
            return found
        finally:
            client.close()
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        raise _refused("role", str(error.response.get("Error", {}).get("Code", "")), status) from None
    except BotoCoreError as error:
        raise _refused("role", type(error).__name__, None) from None


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
