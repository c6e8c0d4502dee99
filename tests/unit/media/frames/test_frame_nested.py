"""Files that name other files, under every known extension: nothing else is ever opened, nothing counted."""

from __future__ import annotations

import http.server
import io
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from metaferry.media.frames.counting import count_frames
from metaferry.media.frames.worker import decode, scan
from metaferry.storage.io.portal import Portal
from metaferry.storage.retry.storage import Retrying
from unit.media import synthetic

EXTENSIONS = ("mp4", "mov", "avi", "webm", "mkv", "mpg", "mpeg", "hevc", "m4v", "ts", "")

#: `{file}` and `{url}` are a real video of nine frames.
SCRIPTS = {
    "ffconcat": "ffconcat version 1.0\nfile '{file}'\n",
    "ffconcat of protocols": "ffconcat version 1.0\nfile 'concat:{file}|{file}'\n"
    "file 'subfile,,start,0,end,0,,:{file}'\n",
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{file}\n#EXTINF:10,\n{url}\n#EXT-X-ENDLIST\n",
    "hls of protocols": '#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXT-X-MAP:URI="{url}"\n'
    "#EXTINF:10,\nconcat:{file}|{url}\n"
    "#EXTINF:10,\nsubfile,,start,0,end,0,,:{file}\n#EXTINF:10,\ncrypto+{url}\n#EXT-X-ENDLIST\n",
    "hls master": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{url}\n",
    "dash": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT1S"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1" '
    'bandwidth="1"><BaseURL>{url}</BaseURL></Representation></AdaptationSet></Period></MPD>\n',
    "smooth streaming": '<SmoothStreamingMedia MajorVersion="2"><Url>{url}</Url></SmoothStreamingMedia>',
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
    "a=rtpmap:96 H264/90000\n",
    "rtsp redirect": "RTSPtextRTSP://127.0.0.1:9/x.mp4\n",
    "windows playlist": "[playlist]\nFile1={file}\nNumberOfEntries=1\n",
    "asx": '<asx version="3.0"><entry><ref href="{url}"/></entry></asx>',
    "smil": '<smil><body><video src="{url}"/></body></smil>',
    "imf": '<?xml version="1.0"?><AssetMap xmlns="http://www.smpte-ra.org/schemas/429-9/2007/AM"><Path>{file}</Path>'
    "</AssetMap>",
    "avisynth": 'DirectShowSource("{file}")\n',
    "vapoursynth": "import vapoursynth\nopen('{file}').read()\n",
    "metadata": ";FFMETADATA1\ntitle={file}\n",
    "image pattern": "{file}%03d.mp4\n",
}


@pytest.fixture
def asked() -> Iterator[tuple[str, list[str]]]:
    """The URL of a server that has the video, and what was asked of it."""
    paths: list[str] = []
    body = synthetic.video(9)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/video.mp4", paths
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("script", sorted(SCRIPTS))
def test_a_script_under_any_name_opens_nothing(
    script: str, tmp_path: Path, folder: Retrying, portal: Portal, asked: tuple[str, list[str]]
) -> None:
    url, paths = asked
    other = tmp_path / "other.mp4"
    other.write_bytes(synthetic.video(9))
    body = SCRIPTS[script].format(file=other, url=url).encode()
    videos = []
    for extension in EXTENSIONS:
        # Padded too: a longer text is probed again with more bytes.
        for name, data in (("short", body), ("long", body + b"\n# nothing" * 1000)):
            path = f"{name}.{extension}" if extension else name
            (tmp_path / path).write_bytes(data)
            videos.append((path, len(data), ""))
    for level in (None, "scan"):
        found = list(count_frames(folder, portal, videos, workers=1, level=level))
        assert {count.path: count.frames for count in found if count.frames is not None} == {}
    assert paths == []


@pytest.mark.parametrize("level", ["scan", "decode"])
@pytest.mark.parametrize("script", sorted(SCRIPTS))
def test_the_whitelist_alone_stops_it(
    script: str, level: str, tmp_path: Path, asked: tuple[str, list[str]]
) -> None:
    """Without the limits of the worker process: this process may open files and connections."""
    url, paths = asked
    other = tmp_path / "other.mp4"
    other.write_bytes(synthetic.video(9))
    body = SCRIPTS[script].format(file=other, url=url).encode()
    for extension in EXTENSIONS:
        file = io.BytesIO(body)
        if level == "scan":
            found = scan.count(file, extension=extension, size=len(body), times=False)
        else:
            found = decode.count(file, extension=extension, size=len(body), threads=1)
        assert found.frames is None
        assert found.reason
    assert paths == []


def test_samples_in_another_file_are_not_followed(tmp_path: Path, folder: Retrying, portal: Portal) -> None:
    """A QuickTime data reference to another file, absolute and relative."""
    (tmp_path / "other.mov").write_bytes(synthetic.video(9, format="mov"))
    data = synthetic.video(9, format="mov")
    at = data.index(b"dref")
    entry = data.index(b"url ", at)
    assert data[entry + 4 : entry + 8] == struct.pack(">I", 1)
    linked = data[: entry + 4] + struct.pack(">I", 0) + data[entry + 8 :]
    (tmp_path / "linked.mov").write_bytes(linked)
    [found] = count_frames(folder, portal, [("linked.mov", len(linked), "")], workers=1, level="index")
    assert (found.frames, found.reason) == (None, "not proved: samples that lie in another file")


def test_every_format_is_a_container_and_no_list_of_files() -> None:
    names = decode.FORMATS.split(",")
    assert len(names) == len(set(names))
    for name in names:
        assert av.format.ContainerFormat(name, "r").is_input
    lists = {
        "concat",
        "hls",
        "applehttp",
        "dash",
        "sdp",
        "rtsp",
        "image2",
        "imf",
        "tee",
        "mpjpeg",
        "avisynth",
        "lavfi",
    }
    assert lists.isdisjoint(names)
