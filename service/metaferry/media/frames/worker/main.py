"""The frame worker: a process of its own that decodes untrusted files.

`python -m metaferry.media.frames.worker.main`, started by `process.py` and reused for many videos. A
file that crashes FFmpeg, takes all memory or never ends takes this process with it and nothing
else. It limits itself before the first byte: memory, CPU time, no core file, and no new file
descriptor at all, so that neither a file nor a connection can be opened.
It reads what it is given over its standard input and never touches storage, network or disk.
"""

from __future__ import annotations

import importlib
import io
import os
import pkgutil
import resource
import sys
from typing import Any, Final

import av
import av.logging

from metaferry.media.frames.worker import decode, picture, protocol, scan

#: Address space of the process, in bytes: 8K video with frame threads stays below half of it.
MEMORY: Final = 4 << 30

#: The smallest READ; the largest is `protocol.MAX_READ`: a sequential decode soon costs one request in 8 MiB.
FIRST_READ: Final = 1 << 20

#: Ranges kept at once: a demuxer goes back and forth between the index and the samples.
_WINDOWS: Final = 3


def main() -> int:
    """Serves jobs until the run closes the pipe."""
    source = 0
    sink = os.dup(1)
    os.dup2(2, 1)  # what a library prints must not become a message
    import_all()
    limit(MEMORY, sink)
    av.logging.set_level(None)
    channel = Channel(source, sink)
    channel.send(protocol.json_message(protocol.HELLO, {"pid": os.getpid(), "av": av.__version__}))
    while (job := channel.job()) is not None:
        limit_cpu(float(job["cpu_seconds"]))
        size = int(job["size"])
        file, name = RemoteFile(channel, size), str(job["extension"])
        try:
            if job["level"] == "picture":
                channel.show(picture.make(file, extension=name, edge=int(job["edge"])))
                continue
            times = bool(job["times"])
            if job["level"] == "scan":
                found = scan.count(
                    file,
                    extension=name,
                    size=size,
                    times=times,
                    proved=job["proved"],
                    fragments=bool(job["fragments"]),
                )
            else:
                threads = int(job["threads"])
                found = decode.count(file, extension=name, size=size, threads=threads, times=times)
        except (MemoryError, decode.OutOfMemory):
            return 70  # a process that ran out of memory is not trusted with the next file
        channel.answer(found)
    return 0


def import_all() -> None:
    """Imports what PyAV imports when first used (subtitles, say): later, no file can be opened."""
    for module in pkgutil.walk_packages(av.__path__, "av."):
        if not module.name.endswith((".__main__", ".datasets")):
            importlib.import_module(module.name)


def limit(memory: int, last_descriptor: int) -> None:
    """Limits this process for good; everything it needs is imported and open by now."""
    if sys.platform == "linux":  # macOS has the limit and refuses to set it
        _lower(resource.RLIMIT_AS, memory)
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_FSIZE, 1 << 20)  # its own standard error at most
    _lower(resource.RLIMIT_NOFILE, last_descriptor + 1)


def limit_cpu(seconds: float) -> None:
    """CPU time from now on, for the case that the run which would kill us is gone."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime + seconds) + 1
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    if hard == resource.RLIM_INFINITY or soft < hard:
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def _lower(which: int, value: int) -> None:
    """Sets both limits to `value`, or to what the process was started with where that is less."""
    hard = resource.getrlimit(which)[1]
    least = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (least, least))


class Channel:
    """The worker's end of the two pipes."""

    def __init__(self, source: int, sink: int) -> None:
        self._source = source
        self._sink = sink

    def job(self) -> dict[str, Any] | None:
        """The next job; None when the run has closed the pipe."""
        first = os.read(self._source, 1)
        if not first:
            return None
        kind, length = protocol.header(first + self._exactly(protocol.HEADER.size - 1))
        if kind != protocol.JOB:
            raise protocol.ProtocolError(f"{kind!r} where a job was expected")
        return protocol.content(self._exactly(length))

    def read(self, start: int, length: int) -> bytes:
        """The bytes `[start, start + length)` of the video of this job."""
        self.send(protocol.message(protocol.READ, protocol.RANGE.pack(start, length)))
        kind, got = protocol.header(self._exactly(protocol.HEADER.size))
        if kind != protocol.DATA:
            raise protocol.ProtocolError(f"{kind!r} where data was expected")
        return self._exactly(got)

    def send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._sink, view) :]

    def answer(self, found: decode.Found) -> None:
        """Ends the job with what was found."""
        if found.ticks is not None:
            for start in range(0, len(found.ticks), protocol.TICKS_A_MESSAGE):
                part = found.ticks[start : start + protocol.TICKS_A_MESSAGE]
                self.send(protocol.message(protocol.TICKS, part.tobytes()))
        self.send(
            protocol.json_message(
                protocol.DONE,
                {
                    "frames": found.frames,
                    "reason": found.reason,
                    "flags": found.flags,
                    "unit": None if found.ticks is None else [found.unit.numerator, found.unit.denominator],
                    "untimed": found.untimed,
                },
            )
        )

    def show(self, made: picture.Picture) -> None:
        """Ends the job with a picture, or with why there is none."""
        if made.data:
            self.send(protocol.message(protocol.PICTURE, made.data))
        self.send(protocol.json_message(protocol.DONE, {"reason": made.reason}))

    def _exactly(self, length: int) -> bytes:
        data = bytearray()
        while len(data) < length:
            part = os.read(self._source, length - len(data))
            if not part:
                os._exit(0)  # the run has ended during a video
            data += part
        return bytes(data)


class RemoteFile(io.RawIOBase):
    """One video as a seekable file, fetched in blocks that grow while it is read in order."""

    def __init__(self, channel: Channel, size: int) -> None:
        super().__init__()
        self._channel = channel
        self._size = size
        self._at = 0
        self._next = FIRST_READ
        self._windows: list[tuple[int, bytes]] = []  # the most recently used last

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = 0) -> int:
        at = offset + (0, self._at, self._size)[whence]
        if at < 0:
            raise OSError(22, "a seek before the start of the file")
        self._at = at
        return at

    def read(self, size: int | None = -1, /) -> bytes:
        """At most `size` bytes, those that are at hand; b"" only at the end of the file."""
        if self._at >= self._size or size == 0:
            return b""
        start, data = self._window(self._at)
        offset = self._at - start
        stop = len(data) if size is None or size < 0 else offset + size
        part = data[offset:stop]
        self._at += len(part)
        return part

    def _window(self, at: int) -> tuple[int, bytes]:
        for index in range(len(self._windows) - 1, -1, -1):
            start, data = self._windows[index]
            if start <= at < start + len(data):
                if index != len(self._windows) - 1:
                    self._windows.append(self._windows.pop(index))
                return self._windows[-1]
        sequential = any(at == start + len(data) for start, data in self._windows)
        self._next = min(self._next * 2, protocol.MAX_READ) if sequential else FIRST_READ
        data = self._channel.read(at, min(self._next, self._size - at))
        if not data:
            raise OSError(5, "the run gave no bytes")
        self._windows.append((at, data))
        del self._windows[:-_WINDOWS]
        return self._windows[-1]


if __name__ == "__main__":
    try:
        code = main()
    except protocol.ProtocolError as error:
        print(error, file=sys.stderr)  # noqa: T201 - read by the run as the reason of the end
        code = 71
    sys.stderr.flush()
    os._exit(code)  # no destructors: FFmpeg may be in any state after a bad file
