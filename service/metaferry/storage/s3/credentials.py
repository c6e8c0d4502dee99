"""What botocore knows: how requests with given options look, and who makes them.

botocore is made to prepare one request of each kind, which is caught before it leaves; so address, region and
headers are its own, not a copy of its rules. Credentials come from its chain when the first request needs
them. Neither keeps or logs a secret of its own.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

from metaferry.storage.errors import Failure
from metaferry.storage.http.network import UnsupportedOption
from metaferry.storage.s3.adapter import s3_failure
from metaferry.storage.s3.client import share_descriptions
from metaferry.storage.s3.signature import NoCredentials

#: Headers of botocore's requests that are sent in a way of our own, or not needed.
_USUAL: Final = frozenset(
    {
        "user-agent",
        "expect",
        "content-type",
        "content-length",
        "content-md5",
        "content-encoding",
        "transfer-encoding",
        "host",
        "range",
        "authorization",
        "x-amz-date",
        "x-amz-content-sha256",
        "x-amz-checksum-crc32",
        "x-amz-checksum-mode",
        "x-amz-sdk-checksum-algorithm",
        "x-amz-trailer",
        "x-amz-decoded-content-length",
        "x-amz-security-token",
        "amz-sdk-invocation-id",
        "amz-sdk-request",
        "x-amz-user-agent",
    }
)
_SCOPE: Final = re.compile(r"AWS4-HMAC-SHA256 Credential=[^/]+/\d{8}/([^/]+)/s3/aws4_request,")
_PROBE: Final = "metaferry-endpoint"
#: botocore's operation of each method.
_OPERATIONS: Final = {
    "PUT": "PutObject",
    "GET": "GetObject",
    "HEAD": "HeadObject",
    "DELETE": "DeleteObject",
}


def session_of(options: Mapping[str, Any]) -> Any:
    import botocore.session
    from botocore.exceptions import BotoCoreError

    session = botocore.session.Session(profile=options.get("profile"))
    try:
        share_descriptions(session)
        session.get_scoped_config()
    except BotoCoreError:  # no such profile, no such syntax; s3fs will say so
        raise UnsupportedOption("profile") from None
    return session


class Seen:
    """What botocore's requests looked like: `base`, the address of the service, `endpoint`, that of the
    bucket, `region`, and by method the `headers` that are not the usual ones."""

    def __init__(self, base: str, requests: Mapping[str, Any], *, signed: bool) -> None:
        self.base = base
        self.headers: dict[str, dict[str, str]] = {}
        for method, request in requests.items():
            headers = {name.lower(): _text(value) for name, value in request.headers.items()}
            scope = _SCOPE.match(headers.get("authorization", ""))
            if signed and scope is None:
                raise UnsupportedOption("signature_version")
            self.region = scope[1] if scope is not None else "us-east-1"
            if not request.url.endswith("/" + _PROBE):
                raise UnsupportedOption("endpoint_url")
            self.endpoint: str = request.url[: -len(_PROBE) - 1]
            self.headers[method] = {name: value for name, value in headers.items() if name not in _USUAL}


def probe(session: Any, bucket: str, options: Mapping[str, Any], region: str | None = None) -> Seen:
    """The requests that botocore would make, in `region` where one is given; they are caught before they
    leave."""
    from botocore import UNSIGNED
    from botocore.awsrequest import AWSResponse
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    anonymous = bool(options.get("anon"))
    client_kwargs = dict(options.get("client_kwargs") or {})
    config = dict(options.get("config_kwargs") or {})
    config.pop("retries", None)
    if anonymous:
        config["signature_version"] = UNSIGNED
    # Any pair does: where and how does not depend on who.
    client_kwargs |= {"aws_access_key_id": "nobody", "aws_secret_access_key": "nothing"}
    client_kwargs.pop("aws_session_token", None)
    if options.get("endpoint_url") is not None:
        client_kwargs["endpoint_url"] = options["endpoint_url"]
    client_kwargs.setdefault("use_ssl", options.get("use_ssl", True))
    if region is not None:
        client_kwargs["region_name"] = region
        config.pop("region_name", None)
    caught: dict[str, Any] = {}

    def catch(request: Any, **_: Any) -> Any:
        caught[request.method] = request
        return AWSResponse(request.url, 200, {}, _Nothing())

    try:
        client = session.create_client("s3", config=Config(**config), **client_kwargs)
        try:
            client.meta.events.register("before-send.s3", catch)
            extra = dict(options.get("s3_additional_kwargs") or {})
            if options.get("requester_pays"):
                extra["RequestPayer"] = "requester"
            for operation in _OPERATIONS.values():
                # As s3fs does: each operation gets those that it knows.
                known = client.meta.service_model.operation_model(operation).input_shape.members
                given = {name: value for name, value in extra.items() if name in known}
                body = {"Body": b""} if operation == "PutObject" else {}
                client._make_api_call(operation, {"Bucket": bucket, "Key": _PROBE, **body, **given})
        finally:
            client.close()
    except (BotoCoreError, ValueError, TypeError, OSError):
        # s3fs will say what is wrong with them.
        raise UnsupportedOption("client_kwargs or config_kwargs") from None
    return Seen(client.meta.endpoint_url, caught, signed=not anonymous)


class _Nothing:
    """An answer without a body."""

    def stream(self, *_: Any, **__: Any) -> list[bytes]:
        return []

    def read(self, *_: Any) -> bytes:
        return b""


class Credentials:
    """What botocore finds, for whoever signs: asked for when the first request needs it, and again in time.

    The same chain as s3fs: what is given, else environment, profile, web identity, single sign-on,
    containers, instances. `failure` says why there are none.
    """

    def __init__(self, session: Callable[[], Any], given: Mapping[str, str]) -> None:
        self._session = session
        self._given = dict(given)
        self._found: Any = None
        self._lock = threading.Lock()
        self.failure: Failure | None = None

    def __repr__(self) -> str:
        return "Credentials(…)"

    def __call__(self) -> dict[str, Any]:
        """`access_key_id`, `secret_access_key`, `token`. Raises `NoCredentials`, without a word about why."""
        if self._given:
            return {
                "access_key_id": self._given["aws_access_key_id"],
                "secret_access_key": self._given["aws_secret_access_key"],
                "token": self._given.get("aws_session_token"),
            }
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

        with self._lock:
            try:
                if self._found is None:
                    self._found = self._session().get_credentials()
                if self._found is None:
                    raise NoCredentialsError
                frozen = self._found.get_frozen_credentials()
            except (BotoCoreError, ClientError, OSError, ValueError) as error:
                self.failure = s3_failure(error)
                raise NoCredentials from None
            self.failure = None
            return {
                "access_key_id": frozen.access_key,
                "secret_access_key": frozen.secret_key,
                "token": frozen.token,
            }


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
