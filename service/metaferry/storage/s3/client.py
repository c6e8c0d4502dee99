"""The s3fs that the S3 adapter speaks through, set up for single attempts and many small objects.

Its own retries and caches are off, its pool is as large as the concurrency, its session is shared
with nobody. What costs botocore most (waiting for `100 Continue`, reading listings, parsing
timestamps) is replaced at the places that botocore gives for that. Nothing here makes a request.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from xml.etree import ElementTree

from metaferry.storage.s3.answers import mark_foreign
from metaferry.storage.s3.listing import take_keys


def file_system(options: Mapping[str, Any], concurrency: int) -> Any:
    """An s3fs of our own: on this loop, shared with nobody, and silent about failures."""
    import aiobotocore.session
    import s3fs

    given = dict(options)
    config = dict(given.pop("config_kwargs", None) or {})
    config["retries"] = {"total_max_attempts": 1}
    config["max_pool_connections"] = max(concurrency, int(config.get("max_pool_connections", 0)))
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
        fs._session_is_owned = False  # or s3fs makes another one when it thinks this one is closed
        share_descriptions(fs.session)
        _tune(fs.session)
    return fs


def share_descriptions(session: Any) -> None:
    """Has a session of botocore use what others have read of S3's description.

    It is a megabyte of JSON, found by looking into four hundred folders: a tenth of a second for each
    session. Raises BotoCoreError for a profile that there is not.
    """
    session.register_component("data_loader", _loader(session.get_config_variable("data_path")))


@functools.cache
def _loader(path: str | None) -> Any:
    from botocore.loaders import create_loader

    return create_loader(path)


def _tune(session: Any) -> None:
    from botocore.handlers import _handle_200_error, add_expect_header

    # aiobotocore waits for `100 Continue` without a limit, and pays a round trip for it.
    session.unregister("before-call.s3", add_expect_header)
    # Before botocore parses the page to see whether it is an error, as it does with each answer of 200.
    events = session.get_component("event_emitter")
    events.unregister("before-parse.s3.*", _handle_200_error)
    events.register_first("before-parse.s3.*", take_keys)
    events.register_first("before-parse.s3.*", mark_foreign)
    events.register_first("before-parse.s3.*", _look_for_error)
    factory = session.get_component("response_parser_factory")
    factory.set_parser_defaults(timestamp_parser=_timestamp())


def _look_for_error(operation_model: Any, response_dict: dict[str, Any], **other: Any) -> None:
    """An error in an answer of 200 is one; a body that is cut, or no XML, is not a 500 that nobody sent.

    ValueError for the second, which the adapter says is a bad answer.
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
    """A parser for listings (ISO 8601, half of their cost otherwise) that still reads headers."""
    from botocore.utils import parse_timestamp

    def parse(value: Any) -> datetime:
        try:
            return datetime.fromisoformat(value)
        except (TypeError, ValueError):
            parsed: datetime = parse_timestamp(value)
            return parsed

    return parse
