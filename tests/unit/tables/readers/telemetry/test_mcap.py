"""The reader of MCAP: real files, topics, clocks, what is left out, and files that lie."""

from __future__ import annotations

import json
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2
from mcap.reader import make_reader
from mcap.writer import CompressionType
from mcap_ros2.decoder import DecoderFactory

from metaferry.errors import JobError
from metaferry.findings import Code
from metaferry.job.readers.telemetry import Telemetry
from metaferry.tables.readers.telemetry.mcap import reader
from metaferry.tables.readers.telemetry.mcap.reader import McapReader
from metaferry.tables.readers.telemetry.messages import limits
from metaferry.tables.readers.testing import check_damaged, check_reader
from unit.tables.readers.reading import Read, read
from unit.tables.readers.telemetry.mcap_files import MAY, SECOND, as_json, fix, write_raw, write_ros2

SAMPLES = Path(os.environ.get("METAFERRY_SAMPLES", Path(__file__).parents[6] / "shared/samples")) / "mcap"
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"there are no sample files in {SAMPLES}")


def read_mcap(path: Path, **more: Any) -> Read:
    return read(McapReader(), path, **more)


def messages(found: Read) -> list[dict[str, Any]]:
    return [json.loads(row["message"]) for row in found.samples if "message" in row]


def codes(found: Read) -> list[Code]:
    return [note.code for note in found.notes]


def fault(path: Path, **more: Any) -> str:
    with pytest.raises(JobError) as caught:
        read_mcap(path, **more)
    return f"{caught.value} / {caught.value.advice}"


# -- real files


@needs_samples
@pytest.mark.parametrize(
    ("name", "samples"),
    [("only_topics.mcap", 7), ("talker.mcap", 20), ("test_bag_for_seek_0.mcap", 5), ("wbag_0.mcap", 1246)],
)
def test_real_files_are_known_and_read_whole(name: str, samples: int) -> None:
    assert McapReader().recognises((SAMPLES / name).read_bytes()[:100], [name])
    found = read_mcap(SAMPLES / name)
    assert (len(found.samples), found.rejects) == (samples, [])


@needs_samples
@pytest.mark.parametrize("name", sorted(path.name for path in SAMPLES.glob("*.mcap")))
def test_messages_are_those_that_the_library_of_the_format_decodes(name: str) -> None:
    with (SAMPLES / name).open("rb") as stream:
        theirs = [
            (channel.topic, message.log_time, _plain(decoded))
            for _, channel, message, decoded in make_reader(
                stream, decoder_factories=[DecoderFactory()]
            ).iter_decoded_messages(log_time_order=False)
        ]
    ours = read_mcap(SAMPLES / name)
    assert [(row["topic"], row["log_ns"]) for row in ours.samples] == [one[:2] for one in theirs]
    for mine, (_, _, other) in zip(messages(ours), theirs, strict=True):
        assert mine == {key: value for key, value in other.items() if key in mine}
        assert set(other) == set(mine)


def _plain(value: Any) -> Any:
    if hasattr(value, "__slots__") and not isinstance(value, str | bytes | list | int | float):
        return {key: _plain(getattr(value, key)) for key in value.__slots__}
    if hasattr(value, "__dict__"):
        return {key: _plain(one) for key, one in vars(value).items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple | bytes) else value


@needs_samples
def test_mcap_keeps_the_contract() -> None:
    check_reader(McapReader(), Telemetry(url=str(SAMPLES / "talker.mcap")))


@needs_samples
def test_damaged_files_raise_errors_of_ours_alone(tmp_path: Path) -> None:
    check_damaged(McapReader(), SAMPLES / "talker.mcap", tmp_path)


@pytest.mark.slow
def test_damaged_files_with_chunks_raise_errors_of_ours_alone(tmp_path: Path) -> None:
    for seed, compression in enumerate(("ZSTD", "LZ4", "NONE")):
        path = tmp_path / f"{compression}.mcap"
        write_ros2(path, [("/fix", MAY + at, fix(MAY + at)) for at in range(40)], compression=compression)
        check_damaged(McapReader(), path, tmp_path, seed=seed, tries=80)


# -- messages


def test_a_message_as_it_stands(tmp_path: Path) -> None:
    path = write_ros2(tmp_path / "a.mcap", [("/fix", MAY + 5, fix(MAY + 7))])
    assert read_mcap(path).samples == [
        {
            "@": 1,
            "time": MAY + 7,
            "clock": "header",
            "topic": "/fix",
            "type": "sensor_msgs/msg/NavSatFix",
            "log_ns": MAY + 5,
            "publish_ns": MAY + 6,
            "message": '{"header":{"stamp":{"sec":1777593600,"nanosec":7},"frame_id":"gps"},"latitude":48.5,'
            '"longitude":11.5,"speed":0.1,"ranges":[1.5,2.5],"data":[1],"frame":"a",'
            '"points":[{"x":1.0,"y":2.0}]}',
        }
    ]


@pytest.mark.parametrize("compression", ["NONE", "LZ4", "ZSTD"])
def test_each_kind_of_chunk_is_read(tmp_path: Path, compression: str) -> None:
    written = [("/fix", MAY + at, fix(MAY + at)) for at in range(500)]
    path = write_ros2(tmp_path / "a.mcap", written, compression=compression)
    found = read_mcap(path)
    assert [row["time"] for row in found.samples] == [MAY + at for at in range(500)]
    assert found.notes == []


@pytest.mark.parametrize(
    ("clock", "own", "log", "time"),
    [
        (None, MAY + 7, MAY, ("header", MAY + 7, None)),
        (None, 0, MAY, ("log", MAY, None)),  # never set
        (None, 5 * SECOND, MAY, ("log", MAY, None)),  # counts from its start, where the log has a date
        (None, 5 * SECOND, SECOND, ("header", None, 5 * SECOND)),
        ("log", MAY + 7, MAY, ("log", MAY, None)),
        ("publish", MAY + 7, MAY, ("publish", MAY + 1, None)),
        ("header", 5 * SECOND, MAY, ("header", None, 5 * SECOND)),
        ("log", MAY, 1000, ("log", None, 1000)),
    ],
)
def test_the_clock_that_is_chosen(
    tmp_path: Path, clock: str | None, own: int, log: int, time: tuple[str, int | None, int | None]
) -> None:
    path = write_ros2(tmp_path / "a.mcap", [("/fix", log, fix(own))])
    (row,) = read_mcap(path, clock=clock).samples
    assert (row["clock"], row.get("time"), row.get("elapsed_ns")) == time


def test_a_message_without_the_time_that_the_job_wants_is_named(tmp_path: Path) -> None:
    path = write_raw(tmp_path / "a.mcap", [("/a", MAY, as_json(x=1)), ("/a", 2**63 + MAY, as_json(x=1))])
    assert read_mcap(path, clock="header").rejects == [
        ("samples", at, "a message of /a: it has no time of its own (header.stamp)") for at in (1, 2)
    ]
    assert read_mcap(path).rejects == [
        ("samples", 2, f"a message of /a: the time is {2**63 + MAY} ns, and times are known up to 2262")
    ]


def test_long_lists_and_texts_are_left_out_and_told(tmp_path: Path) -> None:
    large = fix(MAY, ranges=[0.5] * 65, data=b"x" * 65, frame="x" * 4_097, points=[{"x": 1, "y": 2}] * 65)
    path = write_ros2(tmp_path / "a.mcap", [("/fix", MAY, large)])
    found = read_mcap(path)
    assert set(messages(found)[0]) == {"header", "latitude", "longitude", "speed"}
    (note,) = found.notes
    assert note.code == Code.TELEMETRY_LEFT_OUT
    assert note.message.endswith("are left out: ranges, data, frame, points")


def test_numbers_that_json_does_not_have_are_left_out(tmp_path: Path) -> None:
    path = write_ros2(
        tmp_path / "a.mcap",
        [("/fix", MAY, fix(MAY, latitude=float("nan"), speed=float("inf"), ranges=[1.0, float("nan")]))],
    )
    (message,) = messages(read_mcap(path))
    assert not message.keys() & {"latitude", "speed"}
    assert message["ranges"] == [1.0, None]


def test_what_a_message_holds_in_all_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_VALUES", 5)
    path = write_ros2(tmp_path / "a.mcap", [("/fix", MAY, fix(MAY))])
    (message,) = messages(read_mcap(path))
    assert message["latitude"] == 48.5
    assert "speed" not in message


def test_json_messages(tmp_path: Path) -> None:
    held = [
        as_json(x=1.5, timestamp={"sec": MAY // SECOND, "nsec": 5}, long=[0] * 65, deep={"a": [{"b": None}]}),
        b"{",
        b"[1]",
        b'{"a": 1, "a": 2}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a":' * 40 + b"1" + b"}" * 40,
        b"\xff",
    ]
    found = read_mcap(
        write_raw(tmp_path / "a.mcap", [("/a", MAY + at, data) for at, data in enumerate(held)])
    )
    (row,) = found.samples
    assert (row["time"], row["clock"]) == (MAY + 5, "header")
    assert json.loads(row["message"]) == {
        "x": 1.5,
        "timestamp": {"sec": MAY // SECOND, "nsec": 5},
        "deep": {"a": [{"b": None}]},
    }
    assert [place for _, place, _ in found.rejects] == list(range(2, 9))


def test_messages_of_protocol_buffers(tmp_path: Path) -> None:
    files = descriptor_pb2.FileDescriptorSet()
    own = descriptor_pb2.FileDescriptorProto(
        name="fix.proto", package="t", syntax="proto3", dependency=["google/protobuf/timestamp.proto"]
    )
    kind = own.message_type.add(name="Fix")
    for number, (name, type_, label) in enumerate(
        [("lat", 1, 1), ("ids", 4, 3), ("blob", 12, 1), ("speed", 2, 1), ("label", 9, 1)], 1
    ):
        kind.field.add(name=name, number=number, type=type_, label=label)
    kind.field.add(name="timestamp", number=9, type=11, label=1, type_name=".google.protobuf.Timestamp")
    files.file.add().CopyFrom(own)
    timestamp_pb2.DESCRIPTOR.CopyToProto(files.file.add())
    pool = descriptor_pool.DescriptorPool()
    for file in reversed(files.file):
        pool.Add(file)
    made = message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Fix"))(
        lat=48.5, ids=[1, 2**63], blob=b"x", speed=0.1, label="a"
    )
    made.timestamp.seconds, made.timestamp.nanos = MAY // SECOND, 5
    schema = ("t.Fix", "protobuf", files.SerializeToString())
    path = write_raw(
        tmp_path / "a.mcap",
        [("/fix", MAY, made.SerializeToString()), ("/fix", MAY, b"\xff\xff")],
        encoding="protobuf",
        schema=schema,
    )
    found = read_mcap(path)
    assert found.samples[0]["time"] == MAY + 5
    assert messages(found) == [
        {
            "lat": 48.5,
            "ids": [1, 2**63],
            "speed": 0.1,
            "label": "a",
            "timestamp": {"seconds": MAY // SECOND, "nanos": 5},
        }
    ]
    assert found.rejects == [
        ("samples", 2, "a message of /fix: it is no message of the type t.Fix"),
    ]


# -- topics


def test_topics_are_those_that_the_job_names(tmp_path: Path) -> None:
    path = write_raw(tmp_path / "a.mcap", [(f"/{name}", MAY, as_json(a=1)) for name in ("a", "b/c", "b/d")])
    assert [row["topic"] for row in read_mcap(path, topics=["/b/*"]).samples] == ["/b/c", "/b/d"]
    assert "there is no topic /b/x / did you mean /b/d?" in fault(path, topics=["/a", "/b/x"])
    assert "there is no topic zzz / there are /a, /b/c, /b/d" in fault(path, topics=["zzz"])


def test_pictures_are_left_out_unless_they_are_named(tmp_path: Path) -> None:
    schema = ("foxglove.RawImage", "jsonschema", b"{}")
    path = write_raw(tmp_path / "a.mcap", [("/camera", MAY, as_json(width=3))], schema=schema)
    assert read_mcap(path).samples == []
    assert messages(read_mcap(path, topics=["/camera"])) == [{"width": 3}]


@pytest.mark.parametrize(
    ("encoding", "schema", "why"),
    [
        ("cbor", None, "messages encoded as cbor cannot be read"),
        ("cdr", ("a/msg/B", "ros2msg", b"c/D d"), "nothing describes the type c/msg/D"),
        ("cdr", ("a/msg/B", "ros2msg", b"a/B d"), "a/msg/B has more than 32 levels, or holds itself"),
        ("cdr", ("a/msg/B", "ros2msg", b"}{"), "the description of a/msg/B cannot be read"),
        ("cdr", ("a/msg/B", "ros2msg", b"\xff"), "the description of a/msg/B is no text"),
        ("cdr", ("a/msg/B", "ros2idl", b"x"), "the description of a/msg/B cannot be read"),
        ("protobuf", ("t.Fix", "protobuf", b"\xff\xff"), "the description of t.Fix cannot be read"),
        ("protobuf", ("t.Fix", "protobuf", b""), "the description of t.Fix cannot be read"),
    ],
)
def test_a_topic_that_cannot_be_read_is_told_and_the_others_are_read(
    tmp_path: Path, encoding: str, schema: tuple[str, str, bytes] | None, why: str
) -> None:
    path = write_raw(tmp_path / "a.mcap", [("/a", MAY, b"\0\1\0\0x")], encoding=encoding, schema=schema)
    found = read_mcap(path)
    assert (found.samples, codes(found)) == ([], [Code.TELEMETRY_UNREAD])
    assert why in found.notes[0].message
    assert why in fault(path, topics=["/a"])


def test_an_index_is_gone_by_so_that_other_chunks_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two requests of the ends, and one for the chunk with the topic."""
    written = [("/large", MAY + at, fix(MAY, frame="x" * 2_000)) for at in range(100)]
    written.insert(50, ("/small", MAY, fix(MAY)))
    path = write_ros2(tmp_path / "a.mcap", written, compression="NONE")
    from metaferry.storage.io.reader import RangeFile

    asked: list[tuple[int, int]] = []
    whole = RangeFile._range

    def counted(self: RangeFile, start: int, end: int) -> bytes:
        asked.append((start, end))
        return whole(self, start, end)

    monkeypatch.setattr(RangeFile, "_range", counted)
    assert len(read_mcap(path, topics=["/small"]).samples) == 1
    assert sum(end - start for start, end in asked) < path.stat().st_size / 4


# -- files


def test_a_file_without_an_index_is_read_from_start_to_end(tmp_path: Path) -> None:
    plain: dict[str, Any] = {"use_chunking": False}
    none: dict[str, Any] = {"index_types": 0, "repeat_channels": False, "repeat_schemas": False}
    for number, options in enumerate(
        (plain, none, {**none, "use_statistics": False, "use_summary_offsets": False})
    ):
        from mcap.writer import IndexType

        given = {key: IndexType.NONE if key == "index_types" else one for key, one in options.items()}
        path = write_raw(tmp_path / f"{number}.mcap", [("/a", MAY, as_json(a=1))] * 3, **given)
        found = read_mcap(path)
        assert (len(found.samples), found.notes) == (3, [])


@pytest.mark.parametrize("compression", ["NONE", "LZ4", "ZSTD"])
def test_a_file_that_is_cut_keeps_what_came_before(tmp_path: Path, compression: str) -> None:
    written = [("/fix", MAY + at, fix(MAY + at)) for at in range(200)]
    whole = write_ros2(tmp_path / "whole.mcap", written, compression=compression).read_bytes()
    counts = []
    for part in (len(whole) - 4, len(whole) // 2, 30):
        path = tmp_path / f"{part}.mcap"
        path.write_bytes(whole[:part])
        found = read_mcap(path)
        counts.append(len(found.samples))
        assert [row["time"] for row in found.samples] == [MAY + at for at in range(counts[-1])]
        assert set(codes(found)) <= {Code.SOURCE_CUT}
    assert counts[0] == 200 > counts[1] > 0 == counts[2]


def chunk_of(data: bytes, *, codec: str = "", size: int | None = None, crc: int | None = None) -> bytes:
    """A file with one chunk, without an index."""
    packed = {"zstd": lambda: pa.compress(data, "zstd", asbytes=True), "": lambda: data}[codec]()
    head = struct.pack(
        "<QQQI", 0, 0, len(data) if size is None else size, zlib.crc32(data) if crc is None else crc
    )
    body = head + struct.pack("<I", len(codec)) + codec.encode() + struct.pack("<Q", len(packed)) + packed
    return record(1, b"\0" * 8) + record(6, body) + record(15, b"\0" * 4)


def record(code: int, body: bytes, length: int | None = None) -> bytes:
    return struct.pack("<BQ", code, len(body) if length is None else length) + body


def mcap(body: bytes) -> bytes:
    magic = b"\x89MCAP0\r\n"
    return magic + body + record(2, b"\0" * 20) + magic


def text(value: str) -> bytes:
    return struct.pack("<I", len(value)) + value.encode()


CHANNEL = record(4, struct.pack("<HH", 1, 0) + text("/a") + text("json") + struct.pack("<I", 0))


def message(data: bytes, length: int | None = None, channel: int = 1) -> bytes:
    head = struct.pack("<HIQQ", channel, 0, MAY, MAY)
    return record(5, head + data, None if length is None else length + 22)


GOOD = CHANNEL + message(b'{"a":1}')


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (chunk_of(GOOD, crc=1), "a chunk whose bytes are not those that were written (CRC)"),
        (chunk_of(GOOD, codec="zstd", size=10), "a chunk of more than the 10 bytes that it says"),
        (chunk_of(b"\0" * (64 << 20), codec="zstd", size=10), "a chunk of more than the 10 bytes"),
        (chunk_of(GOOD, size=2 << 40), "holds 2,097,152 MiB in chunks of 0 MiB: it is no recording"),
        (chunk_of(GOOD, size=len(GOOD) + 1), "ends within a chunk"),
        (record(6, struct.pack("<QQQII", 0, 0, 1, 0, 2**31)), "packed with what has no name"),
        (
            record(6, struct.pack("<QQQII", 0, 0, 1, 0, 3) + b"lzo" + struct.pack("<Q", 0)),
            "packed with 'lzo'",
        ),
        (record(6, struct.pack("<QQQIIQ", 0, 0, 1, 0, 0, 2**60)), "a chunk that is longer than its record"),
        (chunk_of(CHANNEL + message(b"{}", 1 << 30)), "ends within a record"),
        (chunk_of(CHANNEL + message(b"{}", 60 << 20)), "ends within a record"),
        (CHANNEL + message(b"{}", 1 << 30), "ends within a record"),
        (CHANNEL + message(b"{}", 2**63), "ends within a record"),
        (record(4, b"", 1 << 30), "has a record of 1,024 MiB that describes others"),
        (record(4, b"\1"), "has a record that cannot be read (Channel, "),
        (
            record(3, struct.pack("<H", 1) + struct.pack("<I", 2**31)),
            "has a record that cannot be read (Schema, ",
        ),
        (message(b"{}"), "has messages of a channel (1) that it does not describe"),
        (record(5, b"x"), "has a record that ends too early"),
    ],
)
def test_a_file_that_lies_is_one_error(tmp_path: Path, body: bytes, why: str) -> None:
    path = tmp_path / "a.mcap"
    path.write_bytes(mcap(body))
    assert why in fault(path)


def test_a_message_that_is_too_large_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    path.write_bytes(mcap(chunk_of(GOOD + message(b" " * (65 << 20)) + message(b'{"a":2}'), codec="zstd")))
    found = read_mcap(path)
    assert [row["@"] for row in found.samples] == [1, 3]
    assert found.rejects == [("samples", 2, "a message of /a has 65 MiB, and at most 64 are read")]


def test_an_index_that_lies_is_one_error(tmp_path: Path) -> None:
    whole = write_raw(
        tmp_path / "a.mcap", [("/a", MAY, as_json(a=1))], compression=CompressionType.NONE
    ).read_bytes()
    start = struct.unpack("<Q", whole[-28:-20])[0]
    at = whole.index(struct.pack("<B", 8), start)
    while struct.unpack("<BQ", whole[at : at + 9])[1] > 200:
        at = whole.index(struct.pack("<B", 8), at + 1)
    place = at + 9 + 16
    for wrong, why in ((9, "no chunk begins"), (2**62, "a chunk at a place that is not in it")):
        path = tmp_path / "b.mcap"
        path.write_bytes(whole[:place] + struct.pack("<Q", wrong) + whole[place + 8 :])
        assert why in fault(path)


def test_messages_that_an_index_hides_are_told(tmp_path: Path) -> None:
    """A file of three chunks, whose index says of one that another topic is in it."""
    large = as_json(**{f"k{at}": "x" * 1_000 for at in range(5)})
    path = write_raw(tmp_path / "a.mcap", [("/a", MAY, large), ("/b", MAY, large), ("/a", MAY, large)])
    assert len(read_mcap(path, topics=["/a"]).samples) == 2
    data = bytearray(path.read_bytes())
    (at,) = struct.unpack("<Q", data[-28:-20])
    indexes = []
    while data[at] != 2:  # the footer
        code, length = struct.unpack_from("<BQ", data, at)
        indexes += [at + 9] if code == 8 else []
        at += 9 + length
    struct.pack_into("<H", data, indexes[2] + 36, 2)
    path.write_bytes(data)
    found = read_mcap(path, topics=["/a"])
    assert (len(found.samples), codes(found)) == (1, [Code.SOURCE_CONTRADICTION])
    assert found.notes[0].message == "the file counts 2 messages of /a, and its index leads to 1"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "does not begin as an MCAP file"),
        (b"\x89MCAP0\r\n", "ends without its end mark"),
        (b"\x1f\x8b\x08" + b"\0" * 100, "is packed (gzip), and is read in ranges / unpack it"),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, data: bytes, why: str) -> None:
    path = tmp_path / "a.mcap"
    path.write_bytes(data)
    if "end mark" in why:
        assert codes(read_mcap(path)) == [Code.SOURCE_CUT]
    else:
        assert why in fault(path)


def test_the_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "find_spec", lambda name: None)
    path = write_raw(tmp_path / "a.mcap", [("/a", MAY, as_json(a=1))])
    assert "pip install 'metaferry[telemetry]'" in fault(path)
