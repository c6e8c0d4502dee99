"""s3fs's options and boto's credentials, said in obstore's words; or the name of what cannot be said.

Where requests go and how they look is not worked out here: botocore itself is asked to make one put
with these very options, which is caught before it leaves. Address, region and headers are taken from
that. An option that is not known to come out the same is never guessed at: the datasource is then
spoken to through s3fs. No value of an option is ever logged. Nothing here makes a request, except
that credentials are looked up when the first request of a store needs them.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

from metaferry.errors import StorageError
from metaferry.storage.contract import ABSENT, ANYTHING, Precondition
from metaferry.storage.fast_errors import NOWHERE
from metaferry.storage.fast_network import Network, Untranslatable, client_options, proxy_for
from metaferry.storage.s3 import refuses_conditions, s3_failure
from metaferry.storage.translate import Failure

#: s3fs's options that come out the same: they are translated, or say nothing about single requests.
_OPTIONS: Final = frozenset(
    {
        "key",
        "secret",
        "token",
        "username",
        "password",
        "anon",
        "profile",
        "endpoint_url",
        "use_ssl",
        "requester_pays",
        "client_kwargs",
        "config_kwargs",
        "s3_additional_kwargs",
        "default_block_size",
        "default_fill_cache",
        "default_cache_type",
        "version_aware",
        "max_concurrency",
        "fixed_upload_size",
        "local_expiry_check",
        "use_listings_cache",
        "listings_expiry_time",
        "max_paths",
        "skip_instance_cache",
        "asynchronous",
        "loop",
    }
)
_CLIENT: Final = frozenset(
    {
        "region_name",
        "endpoint_url",
        "use_ssl",
        "verify",
        "aws_access_key_id",
        "aws_secret_access_key",
        "aws_session_token",
    }
)
_CONFIG: Final = frozenset(
    {
        "region_name",
        "signature_version",
        "s3",
        "retries",
        "max_pool_connections",
        "connect_timeout",
        "read_timeout",
        "proxies",
        "use_dualstack_endpoint",
        "use_fips_endpoint",
        "parameter_validation",
        "request_checksum_calculation",
        "response_checksum_validation",
    }
)
_EXTRA: Final = frozenset({"ServerSideEncryption", "SSEKMSKeyId", "BucketKeyEnabled"})

#: What obstore would read from the environment and nothing can make it leave alone.
_ENVIRONMENT: Final = frozenset(
    {
        "AWS_SERVER_SIDE_ENCRYPTION",
        "AWS_SSE_KMS_KEY_ID",
        "AWS_SSE_BUCKET_KEY_ENABLED",
        "AWS_SSE_CUSTOMER_KEY_BASE64",
    }
)

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

#: Answers that mean that another address or region is meant. botocore follows them, obstore does not.
_ELSEWHERE: Final = frozenset(
    {
        NOWHERE,
        "PermanentRedirect",
        "TemporaryRedirect",
        "Redirect",
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
    }
)


def s3_dialect(
    bucket: str, prefix: str, options: Mapping[str, Any], *, concurrency: int
) -> S3Dialect | Untranslatable:
    """How obstore is to speak to the bucket, or on account of what it cannot."""
    try:
        return S3Dialect(bucket, prefix, options, concurrency=concurrency)
    except Untranslatable as reason:
        return reason


class S3Dialect:
    """How obstore is to speak to `bucket`. Raises `Untranslatable` for an option outside the list."""

    store: Final = "s3"
    conditions_optional: Final = True

    def __init__(self, bucket: str, prefix: str, options: Mapping[str, Any], *, concurrency: int) -> None:
        _check(bucket, options)
        self._bucket = bucket
        self._prefix = prefix
        self._options = dict(options)
        self._concurrency = concurrency
        self._credentials: Credentials | None = None
        self._settings: tuple[dict[str, Any], Network] | None = None

    def key(self, path: str) -> str:
        return self._prefix + path

    def connect(self, *, patience: float) -> Any:
        """A store of obstore's; `patience` (seconds) bounds one request. Raises `Untranslatable`."""
        from obstore.store import S3Store

        if self._settings is None:
            self._settings = self._translate()
        config: Any
        config, network = self._settings
        credentials: Any = self._credentials
        client: Any = client_options(network, patience=patience)
        return S3Store(
            self._bucket,
            config=config,
            client_options=client,
            retry_config={"max_retries": 0},
            credential_provider=credentials,
        )

    def forget(self) -> None:
        """Credentials are looked up anew from here on."""
        self._settings = self._credentials = None

    def mode(self, only_if: Precondition) -> Any:
        if only_if is ANYTHING:
            return "overwrite"
        return "create" if only_if is ABSENT else {"e_tag": f'"{only_if}"'}

    def pin(self, version: str) -> dict[str, str]:
        return {"if_match": f'"{version}"'}

    def token(self, answer: Mapping[str, Any]) -> str:
        return str(answer["e_tag"] or "").strip('"')

    def refuses_conditions(self, error: StorageError) -> bool:
        return refuses_conditions(error)

    def refine(self, failure: Failure, error: BaseException) -> Failure:
        """A failure to get credentials by its own name: obstore only knows that there are none."""
        from obstore.exceptions import UnauthenticatedError

        if failure.status is None and isinstance(error, UnauthenticatedError):
            why = None if self._credentials is None else self._credentials.failure
            return why or failure
        return failure

    def is_elsewhere(self, failure: Failure) -> bool:
        return failure.code in _ELSEWHERE or failure.status in (301, 302, 303, 307, 308)

    # -- translation

    def _translate(self) -> tuple[dict[str, Any], Network]:
        session = _session(self._options)
        seen = _probe(session, self._bucket, self._options)
        given = _given(self._options)
        anonymous = bool(self._options.get("anon"))
        config: dict[str, Any] = {
            # Both, since obstore would prefer the second, if it found it in the environment.
            "endpoint": seen.endpoint,
            "aws_endpoint_url_s3": seen.endpoint,
            "virtual_hosted_style_request": True,  # the address names the bucket already
            "region": seen.region,
            "skip_signature": anonymous,
            "unsigned_payload": False,
            "request_payer": seen.pays,
            "s3_express": False,
            "conditional_put": "etag",
            "disable_bulk_delete": True,
            **seen.settings,
        }
        if not _old(self._options):
            config["checksum_algorithm"] = "SHA256"
        elif os.environ.get("AWS_CHECKSUM_ALGORITHM"):
            raise Untranslatable("the environment variable AWS_CHECKSUM_ALGORITHM")
        for name in _ENVIRONMENT:
            if os.environ.get(name) and name.removeprefix("AWS_").lower() not in config:
                raise Untranslatable(f"the environment variable {name}")
        self._credentials = None if anonymous else Credentials(lambda: _session(self._options), given)
        client = self._options.get("client_kwargs") or {}
        settings = self._options.get("config_kwargs") or {}
        verify = client.get("verify")
        if verify is None:
            verify = session.get_config_variable("ca_bundle")
        network = Network(
            seen.endpoint,
            proxy_for(seen.base, settings.get("proxies")),
            verify=verify is not False,
            trusted=_trusted(verify),
            connect=settings.get("connect_timeout", 10),
            read=settings.get("read_timeout", 60),
            concurrency=max(self._concurrency, int(settings.get("max_pool_connections", 0))),
        )
        return config, network


class Credentials:
    """What botocore finds, for obstore, which asks when the first request needs it and before it expires.

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
        """What obstore calls an `S3Credential`. Raises `LookupError`, without a word about why."""
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
                raise LookupError("no credentials") from None
            self.failure = None
            return {
                "access_key_id": frozen.access_key,
                "secret_access_key": frozen.secret_key,
                "token": frozen.token,
                # botocore renews well before this; without one they are good for ever.
                "expires_at": getattr(self._found, "_expiry_time", None),
            }


class _Seen:
    """What botocore's put looked like."""

    def __init__(self, base: str, url: str, headers: Mapping[str, str], *, signed: bool) -> None:
        scope = _SCOPE.match(headers.get("authorization", ""))
        if signed and scope is None:
            raise Untranslatable("signature_version")
        self.region = scope[1] if scope is not None else "us-east-1"
        if not url.endswith("/" + _PROBE):
            raise Untranslatable("endpoint_url")
        self.base = base
        self.endpoint = url[: -len(_PROBE) - 1]
        self.pays = False
        self.settings: dict[str, Any] = {}
        for name, value in headers.items():
            if name == "x-amz-request-payer":
                self.pays = True
            elif name in _SETTINGS:
                self.settings[_SETTINGS[name]] = value
            elif name not in _USUAL:
                raise Untranslatable(f"the header {name}")


def _probe(session: Any, bucket: str, options: Mapping[str, Any]) -> _Seen:
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
        raise Untranslatable("client_kwargs or config_kwargs") from None
    headers = {name.lower(): _text(value) for name, value in caught[0].headers.items()}
    return _Seen(client.meta.endpoint_url, caught[0].url, headers, signed=not anonymous)


class _Nothing:
    """An answer without a body."""

    def stream(self, *_: Any, **__: Any) -> list[bytes]:
        return []

    def read(self, *_: Any) -> bytes:
        return b""


def _check(bucket: str, options: Mapping[str, Any]) -> None:
    """Raises `Untranslatable` with the name of the first option that is not on the list."""
    for name, value in options.items():
        if name not in _OPTIONS and value is not None:
            raise Untranslatable(name)
    groups = {"client_kwargs": _CLIENT, "config_kwargs": _CONFIG, "s3_additional_kwargs": _EXTRA}
    for group, known in groups.items():
        inner = options.get(group) or {}
        if not isinstance(inner, Mapping):
            raise Untranslatable(group)
        for name in inner:
            if name not in known:
                raise Untranslatable(f"{group}.{name}")
    config = options.get("config_kwargs") or {}
    for name in ("connect_timeout", "read_timeout"):
        value = config.get(name, 1)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
            raise Untranslatable(f"config_kwargs.{name}")
    if bucket.endswith("--x-s3") or ":" in bucket:  # sessions of their own, addresses of their own
        raise Untranslatable("the kind of bucket")
    _given(options)


def _given(options: Mapping[str, Any]) -> dict[str, str]:
    """Key, secret and token where they are given as options, under boto's names."""
    client = options.get("client_kwargs") or {}
    outer = {
        "aws_access_key_id": options.get("key") or options.get("username"),
        "aws_secret_access_key": options.get("secret") or options.get("password"),
        "aws_session_token": options.get("token"),
    }
    found: dict[str, str] = {}
    for name, value in outer.items():
        inner = client.get(name)
        if value is not None and inner is not None and value != inner:
            raise Untranslatable(f"client_kwargs.{name}")  # s3fs refuses it
        if (value if value is not None else inner) is not None:
            found[name] = str(value if value is not None else inner)
    if found and not {"aws_access_key_id", "aws_secret_access_key"} <= found.keys():
        raise Untranslatable("key without secret, or secret without key")
    return found


def _session(options: Mapping[str, Any]) -> Any:
    import botocore.session
    from botocore.exceptions import BotoCoreError

    session = botocore.session.Session(profile=options.get("profile"))
    try:
        session.get_scoped_config()
    except BotoCoreError:  # no such profile, no such syntax; s3fs will say so
        raise Untranslatable("profile") from None
    return session


def _trusted(verify: Any) -> str | None:
    """The certificates that botocore would trust: its own bundle, unless one is named."""
    if verify is False:
        return None
    if isinstance(verify, (str, os.PathLike)):
        return os.fspath(verify)
    from botocore.httpsession import get_cert_path

    return str(get_cert_path(True))


def _old(options: Mapping[str, Any]) -> bool:
    """Whether the user says that this store does not know the newer checksums."""
    config = options.get("config_kwargs") or {}
    return bool(config.get("request_checksum_calculation") == "when_required")


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
