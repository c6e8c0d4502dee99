"""What botocore knows and obstore has to be told: how a put looks with given options, and who makes it.

botocore is made to prepare one put, which is caught before it leaves; so address, region and headers
are its own, not a copy of its rules. Credentials come from its chain when the first request needs
them. Neither keeps or logs a secret of its own.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

from metaferry.storage.errors import Failure
from metaferry.storage.http.errors import Unsigned
from metaferry.storage.http.options import UnsupportedOption
from metaferry.storage.s3.adapter import s3_failure
from metaferry.storage.s3.client import share_descriptions

#: Headers of botocore's put that obstore sends in its own way, or has no need of.
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
        "authorization",
        "x-amz-date",
        "x-amz-content-sha256",
        "x-amz-checksum-crc32",
        "x-amz-sdk-checksum-algorithm",
        "x-amz-trailer",
        "x-amz-decoded-content-length",
        "x-amz-security-token",
        "amz-sdk-invocation-id",
        "amz-sdk-request",
        "x-amz-user-agent",
    }
)
#: Headers that become settings.
_SETTINGS: Final = {
    "x-amz-server-side-encryption": "server_side_encryption",
    "x-amz-server-side-encryption-aws-kms-key-id": "sse_kms_key_id",
    "x-amz-server-side-encryption-bucket-key-enabled": "sse_bucket_key_enabled",
}
_SCOPE: Final = re.compile(r"AWS4-HMAC-SHA256 Credential=[^/]+/\d{8}/([^/]+)/s3/aws4_request,")
_PROBE: Final = "metaferry-endpoint"


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
    """What botocore's put looked like."""

    def __init__(self, base: str, url: str, headers: Mapping[str, str], *, signed: bool) -> None:
        scope = _SCOPE.match(headers.get("authorization", ""))
        if signed and scope is None:
            raise UnsupportedOption("signature_version")
        self.region = scope[1] if scope is not None else "us-east-1"
        if not url.endswith("/" + _PROBE):
            raise UnsupportedOption("endpoint_url")
        self.base = base
        self.endpoint = url[: -len(_PROBE) - 1]
        self.pays = False
        self.settings: dict[str, Any] = {}
        self.more: dict[str, str] = {}  # the headers that became settings
        for name, value in headers.items():
            if name == "x-amz-request-payer":
                self.pays = True
                self.more[name] = value
            elif name in _SETTINGS:
                self.settings[_SETTINGS[name]] = value
                self.more[name] = value
            elif name not in _USUAL:
                raise UnsupportedOption(f"the header {name}")


def probe(session: Any, bucket: str, options: Mapping[str, Any]) -> Seen:
    """The put that botocore would make; it is caught before it leaves."""
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
    caught: list[Any] = []

    def catch(request: Any, **_: Any) -> Any:
        caught.append(request)
        return AWSResponse(request.url, 200, {}, _Nothing())

    try:
        client = session.create_client("s3", config=Config(**config), **client_kwargs)
        try:
            client.meta.events.register("before-send.s3.PutObject", catch)
            extra = dict(options.get("s3_additional_kwargs") or {})
            if options.get("requester_pays"):
                extra["RequestPayer"] = "requester"
            client.put_object(Bucket=bucket, Key=_PROBE, Body=b"", **extra)
        finally:
            client.close()
    except (BotoCoreError, ValueError, TypeError, OSError):
        # s3fs will say what is wrong with them.
        raise UnsupportedOption("client_kwargs or config_kwargs") from None
    headers = {name.lower(): _text(value) for name, value in caught[0].headers.items()}
    return Seen(client.meta.endpoint_url, caught[0].url, headers, signed=not anonymous)


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
        """What obstore calls an `S3Credential`. Raises `Unsigned`, without a word about why."""
        if self._given:
            return {
                "access_key_id": self._given["aws_access_key_id"],
                "secret_access_key": self._given["aws_secret_access_key"],
                "token": self._given.get("aws_session_token"),
                "expires_at": None,
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
                raise Unsigned from None
            self.failure = None
            return {
                "access_key_id": frozen.access_key,
                "secret_access_key": frozen.secret_key,
                "token": frozen.token,
                # botocore renews well before this; without one they are good for ever.
                "expires_at": getattr(self._found, "_expiry_time", None),
            }


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
