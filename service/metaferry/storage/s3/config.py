"""s3fs's options and boto's credentials, said in obstore's words; or the name of what cannot be said.

Where requests go and how they look is not worked out here: botocore itself is asked to make one put
with these very options, which is caught before it leaves. Address, region and headers are taken from
that. An option that is not known to come out the same is never guessed at: the datasource is then
spoken to through s3fs. No value of an option is ever logged. Nothing here makes a request, except
that credentials are looked up when the first request of a store needs them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import Any, Final

from metaferry.errors import StorageError
from metaferry.storage.errors import Failure
from metaferry.storage.http.client import Sockets
from metaferry.storage.http.errors import NOWHERE
from metaferry.storage.http.options import Network, UnsupportedOption, client_options, proxy_for
from metaferry.storage.keys import entity_tag
from metaferry.storage.protocol import ABSENT, ANYTHING, Precondition
from metaferry.storage.s3.adapter import refuses_conditions
from metaferry.storage.s3.credentials import Credentials, probe, session_of
from metaferry.storage.s3.requests import ANONYMOUS, S3RequestCodec
from metaferry.storage.s3.signature import Endpoint, Signer

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

#: Answers that mean that another address or region is meant. botocore follows them, obstore does not.
_FALLBACK_CODES: Final = frozenset(
    {
        NOWHERE,
        "PermanentRedirect",
        "TemporaryRedirect",
        "Redirect",
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
    }
)


def s3_config(
    bucket: str, prefix: str, options: Mapping[str, Any], *, concurrency: int
) -> S3Config | UnsupportedOption:
    """How obstore is to speak to the bucket, or on account of what it cannot."""
    try:
        return S3Config(bucket, prefix, options, concurrency=concurrency)
    except UnsupportedOption as reason:
        return reason


class S3Config:
    """How obstore is to speak to `bucket`. Raises `UnsupportedOption` for an option outside the list."""

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
        self._place: Endpoint | None = None

    def key(self, path: str) -> str:
        return self._prefix + path

    def connect(self, *, timeout: float) -> Any:
        """A store of obstore's; `timeout` (seconds) bounds one request. Raises `UnsupportedOption`."""
        from obstore.store import S3Store

        if self._settings is None:
            self._settings = self._to_options()
        config: Any
        config, network = self._settings
        credentials: Any = self._credentials
        client: Any = client_options(network, timeout=timeout)
        return S3Store(
            self._bucket,
            config=config,
            client_options=client,
            retry_config={"max_retries": 0},
            credential_provider=credentials,
        )

    def sockets(self, *, timeout: float) -> Sockets | None:
        """Puts over connections of our own; None where obstore has to make them: through a proxy,
        and without a signature. Raises `UnsupportedOption`."""
        if self._settings is None:
            self._settings = self._to_options()
        network = self._settings[1]
        if self._place is None or self._credentials is None or network.proxy is not None:
            return None
        return Sockets(network, S3RequestCodec(Signer(self._place, self._credentials)), timeout=timeout)

    def forget(self) -> None:
        """Credentials are looked up anew from here on."""
        self._settings = self._credentials = self._place = None

    def mode(self, only_if: Precondition) -> Any:
        if only_if is ANYTHING:
            return "overwrite"
        return "create" if only_if is ABSENT else {"e_tag": f'"{only_if}"'}

    def pin(self, version: str) -> dict[str, str]:
        return {"if_match": f'"{version}"'}

    def token(self, answer: Mapping[str, Any]) -> str:
        return entity_tag(str(answer["e_tag"] or ""))

    def refuses_conditions(self, error: StorageError) -> bool:
        return refuses_conditions(error)

    def refine(self, failure: Failure, error: BaseException) -> Failure:
        """A failure to get credentials by its own name: who signs only knows that there are none."""
        from obstore.exceptions import UnauthenticatedError

        if failure is ANONYMOUS or (failure.status is None and isinstance(error, UnauthenticatedError)):
            why = None if self._credentials is None else self._credentials.failure
            return why or failure
        return failure

    def fallback_reason(self, failure: Failure) -> str | None:
        if failure.code in _FALLBACK_CODES or failure.status in (301, 302, 303, 307, 308):
            return "a redirection: the bucket is in another region"
        return None

    # -- translation

    def _to_options(self) -> tuple[dict[str, Any], Network]:
        session = session_of(self._options)
        seen = probe(session, self._bucket, self._options)
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
            raise UnsupportedOption("the environment variable AWS_CHECKSUM_ALGORITHM")
        for name in _ENVIRONMENT:
            if os.environ.get(name) and name.removeprefix("AWS_").lower() not in config:
                raise UnsupportedOption(f"the environment variable {name}")
        self._credentials = None if anonymous else Credentials(lambda: session_of(self._options), given)
        with contextlib.suppress(ValueError):  # a header that only obstore can send
            self._place = Endpoint(seen.endpoint, seen.region, seen.more, "checksum_algorithm" in config)
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


def _check(bucket: str, options: Mapping[str, Any]) -> None:
    """Raises `UnsupportedOption` with the name of the first option that is not on the list."""
    for name, value in options.items():
        if name not in _OPTIONS and value is not None:
            raise UnsupportedOption(name)
    groups = {"client_kwargs": _CLIENT, "config_kwargs": _CONFIG, "s3_additional_kwargs": _EXTRA}
    for group, known in groups.items():
        inner = options.get(group) or {}
        if not isinstance(inner, Mapping):
            raise UnsupportedOption(group)
        for name in inner:
            if name not in known:
                raise UnsupportedOption(f"{group}.{name}")
    config = options.get("config_kwargs") or {}
    for name in ("connect_timeout", "read_timeout"):
        value = config.get(name, 1)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
            raise UnsupportedOption(f"config_kwargs.{name}")
    if bucket.endswith("--x-s3") or ":" in bucket:  # sessions of their own, addresses of their own
        raise UnsupportedOption("the kind of bucket")
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
            raise UnsupportedOption(f"client_kwargs.{name}")  # s3fs refuses it
        if (value if value is not None else inner) is not None:
            found[name] = str(value if value is not None else inner)
    if found and not {"aws_access_key_id", "aws_secret_access_key"} <= found.keys():
        raise UnsupportedOption("key without secret, or secret without key")
    return found


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
