"""A put through obstore: the requests that it takes, from a thread or on an event loop, and their stamp.

As a rule it is one request. Where the store knows no conditions, or refuses one that it should know,
what is there is looked at first. The same steps serve both ways of calling; nothing here retries, and
nothing chooses between the libraries.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Mapping
from typing import Any, Protocol

from metaferry.errors import Conflict, NotFound, StorageError
from metaferry.storage.capabilities import DetectedCapabilities
from metaferry.storage.errors import Failure, Operation
from metaferry.storage.http.puts import ClientConfig, Send
from metaferry.storage.keys import content_type, md5_hex
from metaferry.storage.protocol import ABSENT, ANYTHING, Precondition, PutResult


class StoreConfig(ClientConfig, Protocol):
    """What differs between the stores, for obstore."""

    @property
    def conditions_optional(self) -> bool:
        """Whether there are stores of this kind that know no conditions on writes."""

    def connect(self, *, timeout: float) -> Any:
        """A store of obstore's; `timeout` (seconds) bounds one request. Raises `UnsupportedOption`."""

    def mode(self, only_if: Precondition) -> Any:
        """obstore's word for a precondition of a put."""

    def pin(self, version: str) -> Mapping[str, str]:
        """obstore's options that read nothing but this version."""

    def token(self, answer: Mapping[str, Any]) -> str:
        """The token as the fsspec adapter spells it, out of obstore's answer."""

    def refuses_conditions(self, error: StorageError) -> bool: ...


class Puts:
    """The puts of one datasource.

    `failed` makes one of our errors of one of obstore's, and raises what is none; `error` makes one of
    what is known about a failure.
    """

    def __init__(
        self,
        config: StoreConfig,
        detected: DetectedCapabilities,
        failed: Callable[[Exception, Operation, str], StorageError],
        error: Callable[[Failure, Operation, str], StorageError],
    ) -> None:
        self._config = config
        self._detected = detected
        self._tags_are_md5 = config.store == "s3"
        self._failed = failed
        self._error = error

    def sender(self, store: Any) -> Send:
        """One request each through a store of obstore's."""
        import obstore

        put, mode, token = obstore.put, self._config.mode, self._config.token

        def send(key: str, data: bytes, kind: str, only_if: Precondition) -> str:
            attributes: Any = _of_type(kind)
            return token(
                put(store, key, data, attributes=attributes, mode=mode(only_if), use_multipart=False)
            )

        return send

    def put_result(self, token: str, md5: str) -> PutResult:
        """Takes notice of the token of a put of data with that MD5."""
        if token == md5 or not self._tags_are_md5:
            return PutResult(token, md5)
        return self._detected.put_result(token, md5)

    def now(
        self, store: Any, path: str, data: bytes, only_if: Precondition, *, first: Exception | None = None
    ) -> PutResult:
        """All requests of a put; `first` is what the first of them met that was made elsewhere."""
        import obstore

        steps = self._steps(path, data, only_if)
        key, attributes = self._config.key(path), _attributes(path)
        step = _start(steps)
        while not isinstance(step, PutResult):
            answer: Any = None
            failed: StorageError | None = None
            try:
                if first is not None:
                    failure, first = first, None
                    raise failure
                if step is None:
                    answer = self._config.token(obstore.head(store, key))
                else:
                    mode = self._config.mode(step)
                    answer = obstore.put(
                        store, key, data, attributes=attributes, mode=mode, use_multipart=False
                    )
            except Exception as error:  # noqa: BLE001 - becomes one of ours, or is raised again
                failed = self._failed(error, "read" if step is None else "put", path)
            step = _go_on(steps, step, answer, failed)
        return step

    async def on_loop(self, store: Any, path: str, data: bytes, only_if: Precondition) -> PutResult:
        import obstore

        steps = self._steps(path, data, only_if)
        key, attributes = self._config.key(path), _attributes(path)
        step = _start(steps)
        while not isinstance(step, PutResult):
            answer: Any = None
            failed: StorageError | None = None
            try:
                if step is None:
                    answer = self._config.token(await obstore.head_async(store, key))
                else:
                    mode = self._config.mode(step)
                    answer = await obstore.put_async(
                        store, key, data, attributes=attributes, mode=mode, use_multipart=False
                    )
            except Exception as error:  # noqa: BLE001 - becomes one of ours, or is raised again
                failed = self._failed(error, "read" if step is None else "put", path)
            step = _go_on(steps, step, answer, failed)
        return step

    def _steps(
        self, path: str, data: bytes, only_if: Precondition
    ) -> Generator[Precondition | None, Any, PutResult]:
        """A put in single requests: yields what a put is to require, or None to ask what is there.

        It is sent obstore's answer, or the error is thrown into it. What is there is sent as its
        token, None where there is nothing.
        """
        detected, plain = self._detected, only_if is ANYTHING
        wanted: Precondition = only_if
        if not plain and not detected.capabilities.honours(only_if):
            yield from self._require(path, only_if)
            wanted = ANYTHING
        try:
            answer = yield wanted
        except NotFound as error:
            missing = isinstance(wanted, str) or (wanted is ABSENT and self._config.conditions_optional)
            if not missing or not error.path:
                raise
            raise self._error(Failure(error.status, error.code, kind=Conflict), "put", path) from None
        except StorageError as error:
            optional = self._config.conditions_optional and wanted is not ANYTHING
            if not optional or not self._config.refuses_conditions(error):
                raise
            yield from self._require(path, only_if)
            answer = yield ANYTHING  # raises again where that was not the reason
            detected.refused(only_if)
        return self.put_result(self._config.token(answer), md5_hex(data))

    def _require(self, path: str, only_if: Precondition) -> Generator[None, Any, None]:
        found = yield None
        if found != (only_if if isinstance(only_if, str) else None):
            raise self._error(Failure(kind=Conflict), "put", path)


def _attributes(path: str) -> dict[str, str]:
    return _of_type(content_type(path))


@functools.cache
def _of_type(type_: str) -> dict[str, str]:
    """One object for all of a type: nearly every put is of the same."""
    return {"Content-Type": type_}


#: What a put asks for next, or what it ended with.
_Step = Precondition | PutResult | None


def _start(steps: Generator[Precondition | None, Any, PutResult]) -> _Step:
    return next(steps)


def _go_on(
    steps: Generator[Precondition | None, Any, PutResult],
    step: _Step,
    answer: Any,
    failed: StorageError | None,
) -> _Step:
    """Tells `steps` what became of `step`; what it wants next, or its result."""
    try:
        if failed is None:
            return steps.send(answer)
        if step is None and isinstance(failed, NotFound):
            return steps.send(None)
        return steps.throw(failed)
    except StopIteration as end:
        put_result: PutResult = end.value
        return put_result
