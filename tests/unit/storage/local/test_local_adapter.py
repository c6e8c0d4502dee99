"""What only a local disk has: renames, links, leftovers of a killed process, names that are no text."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, TypeVar

import pytest

from metaferry.errors import Conflict, Denied, NotFound, Unavailable, Unsupported
from metaferry.storage.local import atomic
from metaferry.storage.local import locks as local_locks
from metaferry.storage.local.adapter import LocalAdapter
from metaferry.storage.protocol import ABSENT, ANYTHING, Blob

T = TypeVar("T")


@contextlib.contextmanager
def opened(root: Path, **more: Any) -> Any:
    adapter = LocalAdapter(root, **more)
    try:
        yield adapter
    finally:
        asyncio.run(adapter.close())


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


async def keys_of(adapter: LocalAdapter, prefix: str = "", **more: Any) -> list[str]:
    keys, cursor = [], None
    while True:
        page = await adapter.list_page(prefix, cursor=cursor, **more)
        keys += [entry.path for entry in page.entries]
        if page.cursor is None:
            return keys
        cursor = page.cursor


def temporaries(root: Path) -> list[str]:
    return [name for _, _, files in os.walk(root) for name in files if atomic.TEMPORARY.match(name)]


def test_a_put_leaves_nothing_but_its_file(tmp_path: Path) -> None:
    with opened(tmp_path) as adapter:
        run(adapter.put("a/b/c.json", b"{}"))
        with pytest.raises(Conflict):
            run(adapter.put("a/b/c.json", b"other", only_if=ABSENT))
        with pytest.raises(Conflict):
            run(adapter.put("a/b/c.json", b"other", only_if="0-0-0"))
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["c.json"]


def test_a_file_has_the_rights_the_user_wants(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with opened(tmp_path) as adapter:
            run(adapter.put("a.json", b"{}"))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == 0o640


def test_a_file_is_on_the_device_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Content, then name, then folder: any other order can lose a document in a power cut."""
    order: list[str] = []
    fsync, replace, link = os.fsync, os.replace, os.link

    def note_fsync(descriptor: int) -> None:
        order.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "content")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", lambda *a: (order.append("name"), replace(*a))[1])
    monkeypatch.setattr(os, "link", lambda *a: (order.append("name"), link(*a))[1])
    with opened(tmp_path) as adapter:
        run(adapter.put("a.json", b"{}"))
        run(adapter.put("b.json", b"{}", only_if=ABSENT))
        run(adapter.delete("a.json"))
        run(adapter.put("new/c.json", b"{}"))
    once = ["content", "name", "folder"]
    assert order == [*once, *once, "folder", "folder", *once]  # the last but one: `new` itself lasts


KILLED = """
import asyncio, os, sys
from metaferry.storage.local import adapter as local
from metaferry.storage.local.adapter import LocalAdapter

def killed(descriptor, data):
    os.write(descriptor, data[:3])
    os.kill(os.getpid(), 9)

local.write_synced = killed
asyncio.run(LocalAdapter(sys.argv[1]).put("doc/a.json", b"half of it is not enough"))
"""


def test_what_a_killed_writer_left_is_hidden_and_then_removed(tmp_path: Path) -> None:
    with opened(tmp_path) as adapter:
        run(adapter.put("doc/a.json", b"whole"))
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(
            [sys.executable, "-c", KILLED, str(tmp_path)], env=environment, check=False, timeout=60
        )
        assert done.returncode == -signal.SIGKILL
        assert len(temporaries(tmp_path)) == 1
        assert run(adapter.read("doc/a.json")).data == b"whole"
        assert run(keys_of(adapter)) == ["doc/a.json"]
        assert len(temporaries(tmp_path)) == 1  # looking does not change anything
        run(adapter.put("doc/b.json", b"{}"))
        assert temporaries(tmp_path) == []


def test_what_somebody_is_still_writing_stays(tmp_path: Path) -> None:
    now = [0.0]
    with opened(tmp_path, clock=lambda: now[0]) as adapter:
        ours = tmp_path / atomic.temporary_name()  # this process lives
        ours.write_bytes(b"x")
        theirs = tmp_path / ".metaferry-00000000-1-0123456789abcdef.tmp"  # another machine's
        theirs.write_bytes(b"x")
        now[0] = theirs.stat().st_mtime + atomic.STALE_AFTER - 1
        run(keys_of(adapter))
        run(adapter.put("a", b""))
        assert ours.exists()
        assert theirs.exists()
        now[0] += 2
        run(keys_of(adapter))
        run(adapter.put("a", b""))
        assert not theirs.exists()


def test_a_writer_whose_temporary_file_was_taken_tries_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from metaferry.errors import Unavailable

    link = os.link

    def taken(source: bytes, target: bytes) -> None:
        monkeypatch.setattr(os, "link", link)
        os.unlink(source)
        link(source, target)

    with opened(tmp_path) as adapter:
        monkeypatch.setattr(os, "link", taken)
        with pytest.raises(Unavailable):
            run(adapter.put("a.json", b"{}"))
        run(adapter.put("a.json", b"{}"))
        assert run(keys_of(adapter)) == ["a.json"]


def test_links_are_followed_but_never_in_circles(tmp_path: Path) -> None:
    root, outside = tmp_path / "data", tmp_path / "outside"
    (root / "sub").mkdir(parents=True)
    outside.mkdir()
    (outside / "image.png").write_bytes(b"png")
    (root / "link.png").symlink_to(outside / "image.png")
    (root / "folder").symlink_to(outside)
    (root / "sub" / "up").symlink_to(root)
    (root / "sub" / "self").symlink_to(root / "sub" / "self")
    (root / "nowhere").symlink_to(root / "gone")
    with opened(root) as adapter:
        assert run(keys_of(adapter)) == ["folder/image.png", "link.png"]
        assert run(adapter.read("link.png")).data == b"png"
        run(adapter.put("link.png", b"ours"))
    assert (outside / "image.png").read_bytes() == b"png"  # the link was replaced, not its target
    assert not (root / "link.png").is_symlink()


def test_nothing_is_written_through_a_link_to_a_folder(tmp_path: Path) -> None:
    """Not out of the datasource, and not to another folder of it; the root itself may be a link."""
    root, outside = tmp_path / "data", tmp_path / "outside"
    (root / "images").mkdir(parents=True)
    (outside / "deep").mkdir(parents=True)
    (outside / "deep" / "a.json").write_bytes(b"theirs")
    (root / ".lightly").symlink_to(outside)
    (root / "docs").symlink_to("images")
    (tmp_path / "link").symlink_to(root)
    before = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*"))
    with opened(tmp_path / "link") as adapter:
        for path in (".lightly/x.json", ".lightly/deep/a.json", ".lightly/new/a.json", "docs/a.json"):
            with pytest.raises(Denied, match="is a symbolic link to") as caught:
                run(adapter.put(path, b"ours"))
            assert "linked_folders" in caught.value.advice
        with pytest.raises(Denied, match="is a symbolic link to"):
            run(adapter.delete(".lightly/deep/a.json"))
        assert run(adapter.read(".lightly/deep/a.json")).data == b"theirs"
        assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == before
        run(adapter.put("images/a.json", b"{}"))


def test_a_place_that_the_job_names_is_written_through_a_link(tmp_path: Path) -> None:
    root, outside = tmp_path / "data", tmp_path / "outside"
    root.mkdir()
    (outside / "deep").mkdir(parents=True)
    (tmp_path / "further").mkdir()
    (root / ".lightly").symlink_to(outside / "deep")
    (outside / "deep" / "on").symlink_to(tmp_path / "further")
    with opened(root, linked_folders=[str(outside)]) as adapter:
        run(adapter.put(".lightly/a.json", b"{}"))
        with pytest.raises(Denied, match="further"):  # a second link leads out of the named place
            run(adapter.put(".lightly/on/a.json", b"{}"))
    assert (outside / "deep" / "a.json").read_bytes() == b"{}"
    assert list((tmp_path / "further").iterdir()) == []


def test_what_is_no_file_is_not_listed_and_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    with opened(tmp_path) as adapter:
        assert run(keys_of(adapter)) == []
        for name in ("pipe", "folder"):
            with pytest.raises((NotFound, Unsupported)):
                run(adapter.read(name))


def test_a_name_that_is_no_text_is_left_out_aloud(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "good.png").write_bytes(b"")
    with open(os.fsencode(tmp_path) + b"/bad-\xff.png", "wb"):
        pass
    with opened(tmp_path) as adapter, caplog.at_level(logging.WARNING):
        assert run(keys_of(adapter)) == ["good.png"]
    assert "not UTF-8" in caplog.text


def test_a_folder_in_the_way_is_explained(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"")
    with opened(tmp_path) as adapter:
        for only_if in (ANYTHING, ABSENT, "1-1-1"):
            with pytest.raises(Unsupported, match="a folder is in the place of the file"):
                run(adapter.put("folder", b"", only_if=only_if))
        with pytest.raises(Unsupported, match="a file is in the place of a folder"):
            run(adapter.put("file/x", b""))
        with pytest.raises(NotFound):
            run(adapter.read("file/x"))
        run(adapter.delete("file/x"))
        with pytest.raises(Unsupported):
            run(adapter.put("n" * 300, b""))
        with pytest.raises(Unsupported):
            run(adapter.put("nul\0", b""))
    assert temporaries(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is denied to root")
def test_a_folder_that_may_not_be_read_stops_the_listing(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir(mode=0o000)
    try:
        with opened(tmp_path) as adapter, pytest.raises(Denied):
            run(keys_of(adapter))
    finally:
        (tmp_path / "secret").chmod(0o700)


def test_a_listing_that_cannot_go_on_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that fails is never a folder that is empty; the page can be asked again."""
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_bytes(b"")
    scandir = os.scandir

    def broken(path: bytes) -> Any:
        if path.endswith(b"/b"):
            monkeypatch.setattr(os, "scandir", scandir)
            raise PermissionError(13, "denied", path)
        return scandir(path)

    with opened(tmp_path, page_size=1) as adapter:
        first = run(adapter.list_page(""))
        assert [entry.path for entry in first.entries] == ["a/x"]
        monkeypatch.setattr(os, "scandir", broken)
        with pytest.raises(Denied, match='when listing "b"') as caught:
            run(adapter.list_page("", cursor=first.cursor))
        assert caught.value.advice == "the user of this process needs to read and enter the folder"
        second = run(adapter.list_page("", cursor=first.cursor))
        assert [entry.path for entry in second.entries] == ["b/x"]


def test_files_that_go_while_they_are_listed(tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / f"k{number}").write_bytes(b"")
    (tmp_path / "z").mkdir()
    (tmp_path / "z" / "x").write_bytes(b"")
    with opened(tmp_path, page_size=2) as adapter:
        first = run(adapter.list_page(""))
        (tmp_path / "k3").unlink()
        (tmp_path / "z" / "x").unlink()
        (tmp_path / "z").rmdir()
        second = run(adapter.list_page("", cursor=first.cursor))
        assert [entry.path for entry in second.entries] == ["k2", "k4"]
        third = run(adapter.list_page("", cursor=second.cursor))
        assert [entry.path for entry in third.entries] == ["k5"]


def test_replacements_by_token_exclude_each_other(tmp_path: Path) -> None:
    """Many threads add one to a number, each only over the version it read: none is lost."""
    with opened(tmp_path, threads=16) as adapter:
        run(adapter.put("count", b"0"))
        conflicts = 0
        lock = threading.Lock()

        async def add(blob: Blob) -> None:
            nonlocal conflicts
            while True:
                try:
                    await adapter.put("count", b"%d" % (int(blob.data) + 1), only_if=blob.token)
                except Conflict:
                    with lock:
                        conflicts += 1
                    blob = await adapter.read("count")
                else:
                    return

        async def race() -> None:
            before = await asyncio.gather(*(adapter.read("count") for _ in range(60)))
            await asyncio.gather(*(add(blob) for blob in before))

        run(race())
        assert run(adapter.read("count")).data == b"60"
    assert conflicts >= 59  # all have read the same version, and one of them can replace it


@pytest.mark.parametrize("conditional", [True, False])
def test_a_token_never_comes_back(tmp_path: Path, conditional: bool) -> None:
    """A clock that stands still, or is set back, and an inode that is given again change nothing."""
    with opened(tmp_path) as adapter:
        token = run(adapter.put("x", b"0")).token
        later = os.stat(tmp_path / "x").st_mtime_ns + 3600 * 10**9
        os.utime(tmp_path / "x", ns=(later, later))
        token = run(adapter.read("x")).token
        seen = [token]
        for number in range(1, 6):
            put_result = run(adapter.put("x", b"%d" % number, only_if=token if conditional else ANYTHING))
            token = run(adapter.read("x")).token
            assert put_result.token == token
            seen.append(token)
    times = [int(token.split("-")[1]) for token in seen]
    assert times == sorted(set(times))


HOLDS = """
import os, sys
from metaferry.storage.local.locks import in_place

folder = os.open(sys.argv[1], os.O_RDONLY)
with in_place(os.fsencode(sys.argv[1]) + b"/x", folder):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def suspended(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A metaferry process that was suspended in the middle of replacing the file `x`."""
    (tmp_path / "x").write_bytes(b"1")
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        process.send_signal(signal.SIGSTOP)
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.slow
def test_a_suspended_process_holds_up_the_one_file_that_it_was_at(
    tmp_path: Path, suspended: subprocess.Popen[str]
) -> None:
    """Everything else in the folder is created, replaced and deleted meanwhile."""
    with opened(tmp_path) as adapter:
        seen = run(adapter.read("x")).token
        for only_if in (ANYTHING, seen):
            with pytest.raises(Unavailable, match="stays locked by process") as caught:
                run(adapter.put("x", b"2", only_if=only_if))
            assert f"process {suspended.pid} (" in caught.value.message
            assert "suspended)" in caught.value.message
        with pytest.raises(Unavailable, match="stays locked"):
            run(adapter.delete("x", only_if=seen))
        made = run(adapter.put("y", b"1", only_if=ABSENT)).token
        made = run(adapter.put("y", b"2", only_if=made)).token
        run(adapter.put("y", b"3"))
        run(adapter.delete("y"))
        with pytest.raises(Conflict):
            run(adapter.put("x", b"2", only_if=ABSENT))
        assert os.listdir(tmp_path) == ["x"]
        suspended.kill()
        suspended.wait()
        run(adapter.put("x", b"2", only_if=seen))
        assert run(adapter.read("x")).data == b"2"


def test_a_file_that_is_locked_for_a_while_is_waited_for(
    tmp_path: Path, suspended: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waited finds another file in place: of two that replace one version, one does."""
    monkeypatch.setattr(local_locks, "LOCK_WITHIN", 60.0)
    with opened(tmp_path) as adapter, ThreadPoolExecutor(2) as pool:
        seen = run(adapter.read("x")).token
        puts = [pool.submit(adapter.put_blocking, "x", b"%d" % n, only_if=seen) for n in range(2)]
        done, _ = wait(puts, timeout=0.2)
        assert not done
        suspended.kill()
        failures = [put.exception(timeout=60) for put in puts]
    assert sorted(isinstance(failure, Conflict) for failure in failures) == [False, True]
    assert None in failures


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.ENOSYS])
def test_without_hard_links_a_create_is_still_a_create(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """As on FAT, some network mounts, and kernels and FUSE file systems without the call."""

    def refuse(source: bytes, target: bytes) -> None:
        raise OSError(number, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    with opened(tmp_path) as adapter:
        run(adapter.put("x", b"1", only_if=ABSENT))
        with pytest.raises(Conflict):
            run(adapter.put("x", b"2", only_if=ABSENT))
        assert run(adapter.read("x")).data == b"1"
    assert os.listdir(tmp_path) == ["x"]


def test_every_version_has_a_token_of_its_own(tmp_path: Path) -> None:
    """Same size, same instant, reused inodes: still another version."""

    async def tokens(adapter: LocalAdapter) -> list[str]:
        return [(await adapter.put("x", b"%03d" % number)).token for number in range(200)]

    with opened(tmp_path) as adapter:
        seen = run(tokens(adapter))
    assert len(set(seen)) == 200


def test_only_these_names_are_temporary() -> None:
    assert atomic.TEMPORARY.match(atomic.temporary_name())
    for name in (".metaferry", ".metaferry-x.tmp", "a.tmp", atomic.temporary_name() + "x", "x.json"):
        assert not atomic.TEMPORARY.match(name)
        assert not atomic.is_stale(f"/x/{name}".encode(), 0.0, 1e12)
