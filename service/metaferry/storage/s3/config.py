"""How S3 is reached and asked with the options of s3fs and the credentials of boto; or what stands in the
way.

Where requests go and how they look is not worked out here: botocore itself is asked to make one of each kind
with these very options, which is caught before it leaves. An option that is not known to come out the
same is never guessed at: the datasource is then spoken to through s3fs. No value of an option is ever logged.
Nothing here makes a request, except that credentials are looked up when the first request needs them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from metaferry.storage.errors import REDIRECTS, Failure
from metaferry.storage.http.client import CurlClient
from metaferry.storage.http.config import Opened, StoreConfig
from metaferry.storage.http.exchange import Answer, error_code
from metaferry.storage.http.network import Network, UnsupportedOption, proxy_for
from metaferry.storage.s3.client import bound_to
from metaferry.storage.s3.credentials import Credentials, Seen, probe, session_of
from metaferry.storage.s3.requests import ANONYMOUS, TAGGING, S3Requests, region_of
from metaferry.storage.s3.signature import Endpoint, Signer

#: s3fs's options that come out the same, or say nothing about single requests.
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
        "client_cert",
    }
)
_EXTRA: Final = frozenset(
    {
        "ACL",
        "BucketKeyEnabled",
        "CacheControl",
        "ExpectedBucketOwner",
        "GrantFullControl",
        "GrantRead",
        "GrantReadACP",
        "GrantWriteACP",
        "Metadata",
        "ObjectLockLegalHoldStatus",
        "ObjectLockMode",
        "ObjectLockRetainUntilDate",
        "RequestPayer",
        "SSECustomerAlgorithm",
        "SSECustomerKey",
        "SSECustomerKeyMD5",
        "SSEKMSEncryptionContext",
        "SSEKMSKeyId",
        "ServerSideEncryption",
        "StorageClass",
        "Tagging",
    }
)

#: Answers that mean that another address or region is meant.
_REDIRECTIONS: Final = frozenset(
    {
        "PermanentRedirect",
        "TemporaryRedirect",
        "Redirect",
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
    }
)
_OF_TAGS: Final = frozenset({"x-amz-request-payer", "x-amz-expected-bucket-owner"})
_REGION_NAME: Final = re.compile(r"[a-z]{2,3}(?:-[a-z]+)+-\d{1,2}")


class S3Config(StoreConfig):
    """A `StoreConfig` for `bucket`. Raises `UnsupportedOption` for an option outside the list."""

    describes = True

    def __init__(self, bucket: str, prefix: str, options: Mapping[str, Any], **more: Any) -> None:
        _check(bucket, options)
        super().__init__(prefix, options, **more)
        self._bucket = bucket
        self._credentials: Credentials | None = None
        self._seen: Seen | None = None
        #: Where it was asked by now, in order; the last is asked from here on. Nobody is sent back.
        self._regions: list[str] = []

    def open(self) -> Opened:
        session = session_of(self._options)
        if self._seen is None:
            self._seen = probe(session, self._bucket, self._options, *self._regions[-1:])
        seen, options = self._seen, self._options
        anonymous = bool(options.get("anon"))
        if self._credentials is None and not anonymous:
            self._credentials = Credentials(lambda: session_of(options), _given(options))
        try:
            endpoint = Endpoint(
                seen.endpoint,
                seen.region,
                _with_tags(seen.headers),
                checksum=not _old(options),
                signed=not anonymous,
            )
        except ValueError:
            raise UnsupportedOption("a header that cannot be signed") from None
        network = self._network(session, seen)
        requests = S3Requests(
            endpoint, Signer(endpoint, self._credentials or _no_credentials), bound_to(options)
        )
        return Opened(requests, CurlClient(network))

    def forget(self, options: Mapping[str, Any]) -> None:
        super().forget(options)
        self._seen = self._credentials = None

    def refine(self, failure: Failure) -> Failure:
        """A failure to get credentials by its own name: who signs only knows that there are none."""
        if failure is ANONYMOUS and self._credentials is not None:
            return self._credentials.failure or failure
        return failure

    def fallback_reason(self, failure: Failure) -> str | None:
        if failure.code in _REDIRECTIONS or failure.status in REDIRECTS:
            return "a redirection: the bucket is in another region"
        return None

    def follows(self, answer: Answer) -> bool:
        """None that S3 itself answers with: its requests are signed anew, for the region of the bucket."""
        if not super().follows(answer):
            return False
        return not region_of(answer) and error_code(answer.body) not in _REDIRECTIONS

    def changes_region(self, answer: Answer) -> bool:
        """Whether the next `open` is for another region, which this answer names: of the same service, and at
        the same host where the options name one."""
        region = region_of(answer)
        seen = self._seen
        if seen is None or answer.status not in (301, 307, 400) or not _REGION_NAME.fullmatch(region):
            return False
        if region == seen.region or region in self._regions:
            return False
        try:
            other = probe(session_of(self._options), self._bucket, self._options, region)
        except UnsupportedOption:
            return False
        if other.region != region or not _are_of_one_service(seen.endpoint, other.endpoint):
            return False
        self._regions += [region] if self._regions else [seen.region, region]
        self._seen = other
        return True

    def _network(self, session: Any, seen: Seen) -> Network:
        client = self._options.get("client_kwargs") or {}
        settings = self._options.get("config_kwargs") or {}
        verify = client.get("verify")
        if verify is None:
            verify = session.get_config_variable("ca_bundle")
        certificate, private_key = _client_certificate(settings.get("client_cert"))
        return Network(
            seen.endpoint,
            proxy_for(seen.base, settings.get("proxies")),
            verify=verify is not False,
            trusted=_trusted(verify),
            certificate=certificate,
            private_key=private_key,
            connect=settings.get("connect_timeout", 10),
            read=settings.get("read_timeout", 60),
            concurrency=max(self._concurrency, int(settings.get("max_pool_connections", 0))),
        )


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
    if bucket.endswith("--x-s3"):  # sessions of their own
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


def _client_certificate(given: Any) -> tuple[str | None, str | None]:
    """Certificate and key, as botocore takes them: a file with both, or two."""
    if given is None:
        return None, None
    pair = list(given) if isinstance(given, (list, tuple)) else [given, None]
    if len(pair) != 2 or not isinstance(pair[0], str) or not isinstance(pair[1], (str, type(None))):
        raise UnsupportedOption("config_kwargs.client_cert")
    return pair[0], pair[1]


def _are_of_one_service(one: str, other: str) -> bool:
    """Whether two addresses are the same host, or of the same partition of AWS."""
    hosts = [urlsplit(url).hostname or "" for url in (one, other)]
    suffixes = [re.search(r"\.amazonaws\.com(?:\.cn)?$", host) for host in hosts]
    if suffixes[0] is not None and suffixes[1] is not None:
        return suffixes[0][0] == suffixes[1][0] and urlsplit(one).scheme == urlsplit(other).scheme
    return one == other


def _with_tags(headers: Mapping[str, Mapping[str, str]]) -> dict[str, Mapping[str, str]]:
    """The same with those of a request for tags: it pays as a read does, and takes no key of a customer's."""
    kept = {name: value for name, value in headers["GET"].items() if name in _OF_TAGS}
    return {**headers, TAGGING: kept}


def _no_credentials() -> Mapping[str, Any]:
    raise AssertionError("nothing is signed")
