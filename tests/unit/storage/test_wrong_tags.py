"""A put that is answered with another checksum than that of what was sent is never passed over."""

from __future__ import annotations

import asyncio
import logging
import random
import uuid

import pytest

from metaferry.errors import Corrupt
from metaferry.storage.capabilities import DetectedCapabilities
from metaferry.storage.keys import md5_hex
from metaferry.storage.memory import MemoryAdapter
from metaferry.storage.protocol import ABSENT, ANYTHING, Blob, Capabilities, Precondition, PutResult
from metaferry.storage.retry.attempts import Policy
from metaferry.storage.retry.storage import Retrying

DATA = b'{"n": 1}'


class Server(MemoryAdapter):
    """An S3 of sorts: `damage` is done to so many puts, `answers` and `keeps` make a tag of an MD5."""

    def __init__(self, *, damage: int = 0, answers: str = "{}", keeps: str = "{}") -> None:
        super().__init__(f"tags-{uuid.uuid4().hex}")
        self.detected = DetectedCapabilities("s3://b", Capabilities(listing_md5=True, conditional=True))
        self.damage = damage
        self.answers, self.keeps = answers, keeps
        self.puts = self.reads = 0

    async def put(self, path: str, data: bytes, *, only_if: Precondition = ANYTHING) -> PutResult:
        self.puts += 1
        stored = data
        if self.damage:
            self.damage -= 1
            stored = b"?" + data[1:]
        await super().put(path, stored, only_if=only_if)
        return self.detected.put_result(self.answers.format(md5_hex(stored)), md5_hex(data))

    async def read(
        self, path: str, start: int = 0, end: int | None = None, *, version: str | None = None
    ) -> Blob:
        self.reads += 1
        blob = await super().read(path, start, end)
        whole = (await super().read(path)).data
        return Blob(blob.data, self.keeps.format(md5_hex(whole)), blob.size)


def storage_of(server: Server, retry_for: float = 60.0) -> Retrying:
    async def sleep(seconds: float) -> None:
        await asyncio.sleep(0)

    return Retrying(server, Policy(retry_for=retry_for), concurrency=1, sleep=sleep, rng=random.Random(1))


def put(storage: Retrying, path: str = "a.json", only_if: Precondition = ANYTHING) -> PutResult:
    return asyncio.run(storage.put(path, DATA, only_if=only_if))


def stored(server: Server) -> bytes:
    return asyncio.run(MemoryAdapter.read(server, "a.json")).data


def test_a_right_tag_costs_nothing() -> None:
    server = Server()
    assert put(storage_of(server)).md5 == md5_hex(DATA)
    assert (server.puts, server.reads) == (1, 0)


def test_other_bytes_than_were_sent_are_written_again() -> None:
    server = Server(damage=2)
    put_result = put(storage_of(server))
    assert put_result == PutResult(md5_hex(DATA), md5_hex(DATA))
    assert (server.puts, stored(server)) == (3, DATA)
    assert server.detected.capabilities.listing_md5


def test_a_store_that_always_keeps_other_bytes_is_an_error() -> None:
    server = Server(damage=10**6)
    with pytest.raises(Corrupt, match="the checksum of other bytes") as caught:
        put(storage_of(server, retry_for=0))
    assert caught.value.advice


def test_tags_that_are_no_md5_are_found_out_by_one_read() -> None:
    server = Server(answers="v2.{}", keeps="v2.{}")
    storage = storage_of(server)
    put_result = put(storage, only_if=ABSENT)
    assert put_result == PutResult(f"v2.{md5_hex(DATA)}", md5_hex(DATA))
    assert not server.detected.capabilities.listing_md5
    put(storage)
    assert (server.puts, server.reads, storage.requests.get) == (2, 1, 1)


def test_answers_that_are_wrong_alone_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    server = Server(answers="00{}")
    storage = storage_of(server)
    with caplog.at_level(logging.WARNING, logger="metaferry"):
        assert put(storage).token == md5_hex(DATA)
        assert put(storage).token == md5_hex(DATA)
    assert caplog.text.count("wrong ETags") == 1
    assert server.detected.capabilities.listing_md5
    assert server.reads == 2


def test_what_the_answer_calls_encrypted_is_not_read() -> None:
    detected = DetectedCapabilities("s3://b", Capabilities(listing_md5=True, conditional=True))
    detected.put_result("0" * 32, md5_hex(DATA), encrypted=True)
    assert not detected.capabilities.listing_md5
