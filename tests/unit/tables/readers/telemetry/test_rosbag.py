"""The reader of ROS bags: bags that the rosbags library writes, real ones, and bags that lie."""

from __future__ import annotations

import json
import os
import sqlite3
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rosbags.rosbag1 import Writer as Bag1Writer
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.rosbag2 import Writer as Bag2Writer
from rosbags.typesys import Stores, get_typestore

from metaferry.errors import JobError
from metaferry.findings import Code
from metaferry.job.readers.telemetry import Telemetry
from metaferry.tables.readers.telemetry.mcap.reader import McapReader
from metaferry.tables.readers.telemetry.rosbag import reader
from metaferry.tables.readers.telemetry.rosbag.reader import RosbagReader
from metaferry.tables.readers.testing import check_damaged, check_reader
from unit.tables.readers.reading import Read, read
from unit.tables.readers.telemetry.mcap_files import MAY, SECOND

SAMPLES = Path(os.environ.get("METAFERRY_SAMPLES", Path(__file__).parents[6] / "shared/samples")) / "mcap"
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason=f"there are no sample files in {SAMPLES}")
ROS1 = get_typestore(Stores.ROS1_NOETIC)
ROS2 = get_typestore(Stores.ROS2_JAZZY)
FIX = {
    "header": {"stamp": {"sec": MAY // SECOND, "nanosec": 7}, "frame_id": "gps"},
    "status": {"status": -1, "service": 1},
    "latitude": 48.5,
    "longitude": 11.5,
    "altitude": 500.25,
    "position_covariance": [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0],
    "position_covariance_type": 2,
}


def a_fix(store: Any, **more: Any) -> Any:
    types = store.types
    kept = {**({"seq": 3} if store is ROS1 else {}), "frame_id": "gps"}
    time = types["builtin_interfaces/msg/Time"](sec=MAY // SECOND, nanosec=7)
    values = {
        "header": types["std_msgs/msg/Header"](stamp=time, **kept),
        "status": types["sensor_msgs/msg/NavSatStatus"](status=-1, service=1),
        "latitude": 48.5,
        "longitude": 11.5,
        "altitude": 500.25,
        "position_covariance": np.arange(9, dtype=np.float64),
        "position_covariance_type": 2,
        **more,
    }
    return types["sensor_msgs/msg/NavSatFix"](**values)


def write_bag1(path: Path, count: int = 3, compression: str = "", topic: str = "/fix") -> Path:
    writer = Bag1Writer(path)
    if compression:
        writer.set_compression(Bag1Writer.CompressionFormat[compression])
    with writer:
        fix = writer.add_connection(topic, "sensor_msgs/msg/NavSatFix", typestore=ROS1)
        other = writer.add_connection("/text", "std_msgs/msg/String", typestore=ROS1)
        data = ROS1.serialize_ros1(a_fix(ROS1), "sensor_msgs/msg/NavSatFix")
        text = ROS1.serialize_ros1(ROS1.types["std_msgs/msg/String"](data="ä"), "std_msgs/msg/String")
        for at in range(count):
            writer.write(fix, MAY + at, data)
        writer.write(other, MAY, text)
    return path


def write_bag2(path: Path, plugin: StoragePlugin = StoragePlugin.SQLITE3, compression: str = "") -> Path:
    writer = Bag2Writer(path, version=9, storage_plugin=plugin)
    if compression:
        writer.set_compression(CompressionMode[compression], CompressionFormat.ZSTD)
    with writer:
        fix = writer.add_connection("/fix", "sensor_msgs/msg/NavSatFix", typestore=ROS2)
        empty = writer.add_connection("/empty", "std_msgs/msg/Empty", typestore=ROS2)
        for at in range(3):
            writer.write(fix, MAY + at, ROS2.serialize_cdr(a_fix(ROS2), "sensor_msgs/msg/NavSatFix"))
        writer.write(empty, MAY, ROS2.serialize_cdr(ROS2.types["std_msgs/msg/Empty"](), "std_msgs/msg/Empty"))
    return path


def read_bag(path: Path | str, **more: Any) -> Read:
    return read(RosbagReader(), path, **more)


def messages(found: Read, topic: str = "/fix") -> list[dict[str, Any]]:
    return [json.loads(row["message"]) for row in found.samples if row["topic"] == topic]


def codes(found: Read) -> list[Code]:
    return [note.code for note in found.notes]


def fault(path: Path, **more: Any) -> str:
    with pytest.raises(JobError) as caught:
        read_bag(path, **more)
    return f"{caught.value} / {caught.value.advice}"


# -- ROS 1


@pytest.mark.parametrize("compression", ["", "LZ4", "BZ2"])
def test_a_bag_of_ros1(tmp_path: Path, compression: str) -> None:
    path = write_bag1(tmp_path / "a.bag", compression=compression)
    assert RosbagReader().recognises(path.read_bytes()[:64], ["a.bag"])
    found = read_bag(path)
    assert (found.rejects, found.notes) == ([], [])
    fixed = {**FIX, "header": {"seq": 3, **FIX["header"]}}  # type: ignore[dict-item]
    assert messages(found) == [fixed] * 3
    assert messages(found, "/text") == [{"data": "ä"}]
    first = found.samples[0]
    assert (first["time"], first["clock"], first["log_ns"], first["type"]) == (
        MAY + 7,
        "header",
        MAY,
        "sensor_msgs/NavSatFix",
    )


def test_topics_of_ros1_are_those_that_the_job_names(tmp_path: Path) -> None:
    path = write_bag1(tmp_path / "a.bag")
    assert [row["topic"] for row in read_bag(path, topics=["/te*"]).samples] == ["/text"]
    assert "there is no topic /fixx / did you mean /fix?" in fault(path, topics=["/fixx"])


def test_bags_keep_the_contract(tmp_path: Path) -> None:
    check_reader(RosbagReader(), Telemetry(url=str(write_bag1(tmp_path / "a.bag"))))
    check_reader(RosbagReader(), Telemetry(url=f"{write_bag2(tmp_path / 'bag')}/"))


@pytest.mark.slow
@pytest.mark.parametrize("compression", ["", "LZ4", "BZ2"])
def test_damaged_bags_of_ros1_raise_errors_of_ours_alone(tmp_path: Path, compression: str) -> None:
    check_damaged(RosbagReader(), write_bag1(tmp_path / "a.bag", 20, compression), tmp_path, tries=80)


@pytest.mark.parametrize("compression", ["", "LZ4", "BZ2"])
def test_a_bag_that_was_not_closed_keeps_what_is_there(tmp_path: Path, compression: str) -> None:
    whole = write_bag1(tmp_path / "a.bag", 2_000, compression).read_bytes()
    at = whole.index(b"index_pos=") + len(b"index_pos=")
    end = struct.unpack("<Q", whole[at : at + 8])[0]
    path = tmp_path / "b.bag"
    unclosed = whole[:at] + b"\0" * 8 + whole[at + 8 :]
    path.write_bytes(unclosed[:end])
    assert (len(read_bag(path).samples), codes(read_bag(path))) == (2_001, [])
    path.write_bytes(unclosed[: end // 2])
    found = read_bag(path)
    assert codes(found) == [Code.SOURCE_CUT]
    times = [row["log_ns"] for row in found.samples if row["topic"] == "/fix"]
    assert times == [MAY + at for at in range(len(times))]
    assert len(times) > 0 or compression == "BZ2"  # which packs blocks of 900 kB


def head(**fields: bytes) -> bytes:
    body = b"".join(struct.pack("<I", len(k) + 1 + len(v)) + k.encode() + b"=" + v for k, v in fields.items())
    return struct.pack("<I", len(body)) + body


def bag(*records: bytes, index: int = 0, chunks: int = 0) -> bytes:
    first = head(
        op=b"\3",
        index_pos=struct.pack("<Q", index),
        conn_count=b"\0" * 4,
        chunk_count=struct.pack("<I", chunks),
    )
    return b"#ROSBAG V2.0\n" + first + struct.pack("<I", 0) + b"".join(records)


def with_data(start: bytes, data: bytes, length: int | None = None) -> bytes:
    return start + struct.pack("<I", len(data) if length is None else length) + data


CONNECTION = with_data(
    head(op=b"\7", conn=b"\0" * 4, topic=b"/a"),
    head(type=b"std_msgs/Int8", message_definition=b"int8 data")[4:],
)
NUMBER = head(op=b"\2", conn=b"\0" * 4, time=struct.pack("<II", MAY // SECOND, 5))


def chunk(data: bytes, *, size: int | None = None, codec: bytes = b"none") -> bytes:
    told = struct.pack("<I", len(data) if size is None else size)
    return with_data(head(op=b"\5", compression=codec, size=told), data)


def test_a_bag_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "a.bag"
    path.write_bytes(bag(chunk(CONNECTION + with_data(NUMBER, b"\xfe")), CONNECTION))
    (row,) = read_bag(path).samples
    assert (row["time"], row["message"]) == (MAY + 5, '{"data":-2}')


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"#ROSBAG V2.0\n", "ends within a record"),
        (b"#ROSBAG V2.0\n" + struct.pack("<I", 2**31), "a record whose head has 2,048 MiB"),
        (bag(index=2**62), "an index at a place that is not in it"),
        (bag(index=5), "an index at a place that is not in it"),
        (bag(CONNECTION, index=len(bag()), chunks=1), "an index that does not name all of its chunks"),
        (bag(chunk(CONNECTION, codec=b"lzo")), "a chunk packed with b'lzo', which is not known"),
        (bag(chunk(CONNECTION, size=3)), "a chunk of more than the 3 bytes that it says"),
        (bag(chunk(CONNECTION, codec=b"bz2")), "a chunk that cannot be unpacked"),
        (bag(*[chunk(b"", size=2**31)] * 2), "it is no recording"),
        (bag(chunk(with_data(NUMBER, b"\1"))), "has messages of a connection (0) that it does not describe"),
        (bag(chunk(struct.pack("<I", 8) + struct.pack("<I", 2**31) + b"op=\2")), "whose head cannot be read"),
        (
            bag(chunk(CONNECTION + with_data(head(op=b"\2", conn=b"\0" * 4), b"\1"))),
            "a record without its time",
        ),
    ],
)
def test_a_bag_that_lies_is_one_error(tmp_path: Path, data: bytes, why: str) -> None:
    path = tmp_path / "a.bag"
    path.write_bytes(data)
    assert why in fault(path)


@pytest.mark.parametrize(
    ("definition", "data", "why"),
    [
        (
            b"int8[] data",
            struct.pack("<I", 2**32 - 1),
            "data has 4,294,967,295 items, and the message ends before",
        ),
        (b"string data", struct.pack("<I", 2**32 - 1), "the message ends before its last field"),
        (b"float64[1000000000] data", b"\0" * 8, "the message ends before its last field"),
        (b"string[] data", struct.pack("<I", 2**30) + b"\0" * 100, "and the message ends before them"),
    ],
)
def test_a_message_that_lies_is_named(tmp_path: Path, definition: bytes, data: bytes, why: str) -> None:
    told = with_data(
        head(op=b"\7", conn=b"\0" * 4, topic=b"/a"), head(type=b"a/B", message_definition=definition)[4:]
    )
    path = tmp_path / "a.bag"
    path.write_bytes(bag(chunk(told + with_data(NUMBER, data))))
    ((_, place, message),) = read_bag(path).rejects
    assert place == 1
    assert why in message


def test_items_without_bytes_take_no_time(tmp_path: Path) -> None:
    """A list of four thousand million messages that hold nothing, in four bytes."""
    definition = b"std_msgs/Empty[] data\n" + b"=" * 80 + b"\nMSG: std_msgs/Empty\n"
    told = with_data(
        head(op=b"\7", conn=b"\0" * 4, topic=b"/a"), head(type=b"a/B", message_definition=definition)[4:]
    )
    path = tmp_path / "a.bag"
    path.write_bytes(bag(chunk(told + with_data(NUMBER, struct.pack("<I", 2**32 - 1)))))
    found = read_bag(path)
    assert (len(found.samples), codes(found)) == (1, [Code.TELEMETRY_LEFT_OUT])


# -- ROS 2


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """The database of a bag of ROS 2."""
    (path,) = write_bag2(tmp_path / "bag").glob("*.db3")
    return path


@needs_samples
def test_a_real_bag_of_ros2(tmp_path: Path) -> None:
    found = read_bag(SAMPLES / "cdr_test_0.db3")
    assert (len(found.samples), found.rejects) == (7, [])
    assert found.samples[0]["time"] == 1_586_406_456_763_032_325
    check_damaged(RosbagReader(), SAMPLES / "cdr_test_0.db3", tmp_path)


@pytest.mark.parametrize("plugin", [StoragePlugin.SQLITE3, StoragePlugin.MCAP])
@pytest.mark.parametrize("compression", ["", "MESSAGE", "FILE"])
def test_a_folder_of_ros2(tmp_path: Path, plugin: StoragePlugin, compression: str) -> None:
    if plugin is StoragePlugin.MCAP and compression:
        pytest.skip("the library packs no MCAP")
    path = write_bag2(tmp_path / "bag", plugin, compression)
    names = sorted(one.name for one in path.iterdir())
    assert RosbagReader().takes_folder(names)
    assert not McapReader().takes_folder(names)
    found = read_bag(f"{path}/")
    assert (found.rejects, messages(found)) == ([], [FIX] * 3)
    assert [row["log_ns"] for row in found.samples if row["topic"] == "/fix"] == [MAY, MAY + 1, MAY + 2]


def test_a_database_without_descriptions_is_read_as_ros2_has_the_types(database: Path) -> None:
    with sqlite3.connect(database) as con:
        con.execute("DROP TABLE message_definitions")
    con.close()
    found = read_bag(database)
    assert messages(found) == [FIX] * 3
    assert codes(found) == [Code.TELEMETRY_ASSUMED] * 2


def test_a_type_that_nobody_describes_is_told(database: Path) -> None:
    with sqlite3.connect(database) as con:
        con.execute("DELETE FROM message_definitions")
        con.execute("UPDATE topics SET type = 'own/msg/Thing' WHERE name = '/fix'")
    con.close()
    found = read_bag(database)
    assert "describes the type own/msg/Thing" in found.notes[0].message
    assert "describes the type own/msg/Thing" in fault(database, topics=["/fix"])


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("DROP TABLE messages", "it has no tables topics and messages"),
        (
            "DROP TABLE topics; CREATE VIEW topics AS WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL "
            "SELECT id + 1 FROM n) SELECT id, 'a' AS name, 'b' AS type, 'cdr' AS serialization_format FROM n",
            "it has no tables topics and messages",
        ),
        ("ALTER TABLE messages RENAME COLUMN data TO other", "no such column: data"),
        ("UPDATE messages SET timestamp = 'noon'", "has messages without a time"),
    ],
)
def test_a_database_that_is_no_bag_is_one_error(database: Path, statement: str, why: str) -> None:
    con = sqlite3.connect(database)
    con.executescript(statement)
    con.close()
    assert why in fault(database)


def test_a_message_that_is_no_cdr_is_named(database: Path) -> None:
    with sqlite3.connect(database) as con:
        con.execute("UPDATE messages SET data = x'00070000ff' WHERE id = 2")
        con.execute("UPDATE messages SET data = x'28b52ffd00' WHERE id = 3")
    con.close()
    assert [message for _, _, message in read_bag(database).rejects] == [
        "a message of /fix: it begins with 00070000, which is no plain CDR",
        "a message of /fix: it cannot be unpacked: Truncated compressed stream",
    ]


def test_the_missing_extra_is_named(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "find_spec", lambda name: None)
    assert "pip install 'metaferry[telemetry]'" in fault(database)
