"""The s3fs client of the S3 adapter, set up for single attempts and many small objects.

Its own retries and caches are off, its pool is as large as the concurrency, and its session is not
shared. The most expensive parts of botocore (waiting for `100 Continue`, parsing listings and timestamps)
are replaced through botocore's own hooks. Nothing here makes a request.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from xml.etree import ElementTree

from metaferry.storage.http.redirects import MOST_REDIRECTS, BoundTo, RedirectingSession, target
from metaferry.storage.s3.answers import mark_foreign
from metaferry.storage.s3.listing import take_keys


def bound_to(options: Mapping[str, Any]) -> BoundTo:
    """Where a redirect may lead requests with these options."""
    if not options.get("anon"):
        return BoundTo.URL
    certificate = (options.get("config_kwargs") or {}).get("client_cert")
    return BoundTo.HOST if certificate or options.get("s3_additional_kwargs") else BoundTo.NOTHING


def file_system(
    options: Mapping[str, Any],
    concurrency: int,
    *,
    follow_redirects: bool = False,
    classes: Callable[[], bool] = lambda: False,
) -> Any:
    """A new s3fs instance on this loop, not shared, without retries. By itself, aiobotocore would follow
    every redirect, and send an access token and customer keys along. `classes`: whether listings give
    storage classes."""
    import aiobotocore.session
    import s3fs

    given = dict(options)
    config = dict(given.pop("config_kwargs", None) or {})
    config["retries"] = {"total_max_attempts": 1}
    config["max_pool_connections"] = max(concurrency, int(config.get("max_pool_connections", 0)))
    config["http_session_cls"] = _session_class(follow_redirects, bound_to(options))
    config.setdefault("connect_timeout", 10)
    config.setdefault("read_timeout", 60)
    given |= {
        "config_kwargs": config,
        "asynchronous": True,
        "skip_instance_cache": True,
        "use_listings_cache": False,
        "version_aware": False,
    }
    fs = s3fs.S3FileSystem(**given)
    fs.retries = 1  # its loop runs once; 0 would raise None
    if fs.session is None:
        fs.session = aiobotocore.session.AioSession(**fs.kwargs)
        fs._session_is_owned = False  # else s3fs replaces it where it takes it for closed
        share_descriptions(fs.session)
        _tune(fs.session, classes)
    return fs


def _session_class(follow: bool, bound_to: BoundTo) -> type:
    from aiobotocore.httpsession import AIOHTTPSession

    class Session(AIOHTTPSession):  # type: ignore[misc] # untyped
        async def _get_session(self, proxy_url: str | None) -> Any:
            session = await super()._get_session(proxy_url)
            return RedirectingSession(session, follow=False, bound_to=bound_to)

        async def send(self, request: Any) -> Any:
            answer = await super().send(request)
            for _ in range(MOST_REDIRECTS if follow else 0):
                location = answer.headers.get("location")
                url = target(request.method, request.url, answer.status_code, location, bound_to)
                if url is None:
                    break
                answer.raw.release()
                request.url = url
                request.reset_stream()
                answer = await super().send(request)
            return answer

    return Session


def share_descriptions(session: Any) -> None:
    """Lets sessions of botocore share the loaded description of S3's API.

    It is a megabyte of JSON, searched for in four hundred folders: a tenth of a second for each session.
    Raises BotoCoreError for a profile that does not exist.
    """
    session.register_component("data_loader", _loader(session.get_config_variable("data_path")))


@functools.cache
def _loader(path: str | None) -> Any:
    from botocore.loaders import create_loader

    return create_loader(path)


def _tune(session: Any, classes: Callable[[], bool]) -> None:
    from botocore.handlers import _handle_200_error, add_expect_header

    # aiobotocore waits for `100 Continue` without a time limit, and pays a round trip for it.
    session.unregister("before-call.s3", add_expect_header)
    # Before botocore parses the page to find an error in it, as it does with each answer of 200.
    events = session.get_component("event_emitter")
    events.unregister("before-parse.s3.*", _handle_200_error)
    events.register_first("before-parse.s3.*", functools.partial(take_keys, classes=classes))
    events.register_first("before-parse.s3.*", mark_foreign)
    events.register_first("before-parse.s3.*", _find_error)
    factory = session.get_component("response_parser_factory")
    factory.set_parser_defaults(timestamp_parser=_timestamp())


def _find_error(operation_model: Any, response_dict: dict[str, Any], **other: Any) -> None:
    """Finds an error in an answer of 200, as botocore does, but does not take a truncated body for a 500.

    Raises ValueError for a body that is no XML, which the adapter turns into a bad answer.
    """
    from botocore.handlers import _handle_200_error

    answered = response_dict.get("status_code")
    _handle_200_error(operation_model, response_dict, **other)
    if response_dict.get("status_code") != answered:
        try:
            ElementTree.fromstring(response_dict["body"])
        except ElementTree.ParseError:
            raise ValueError("not whole") from None


def _timestamp() -> Callable[[Any], datetime]:
    """A fast parser for the timestamps of listings (ISO 8601) that also parses those of headers."""
    from botocore.utils import parse_timestamp

    def parse(value: Any) -> datetime:
        try:
            return datetime.fromisoformat(value)
        except (TypeError, ValueError):
            parsed: datetime = parse_timestamp(value)
            return parsed

    return parse
