"""Names of the format: the cases that the format's sources, or buckets, are known to hold."""

from __future__ import annotations

import pytest

from metaferry.lightly.names import (
    IMAGE_EXTENSIONS,
    SCHEMA,
    VIDEO_EXTENSIONS,
    Belonging,
    Collision,
    FrameName,
    HostileName,
    Kind,
    Standing,
    clean_record_name,
    collisions,
    digits,
    document_path,
    frame_document_path,
    frame_file_name,
    hostile,
    media_kind,
    parse_document,
    parse_frame_document,
)


def test_the_extensions_are_those_of_the_documentation() -> None:
    assert {"mp4", "m4v", "hevc", "mpg", "mpeg", "avi", "mov", "webm"} == VIDEO_EXTENSIONS
    assert {"png", "jpg", "jpeg", "bmp", "gif", "tif", "tiff", "ppm", "pgm", "webp"} == IMAGE_EXTENSIONS


@pytest.mark.parametrize("extension", [*sorted(VIDEO_EXTENSIONS), "MP4", "Mov", "WebM"])
def test_videos_in_any_letter_case(extension: str) -> None:
    assert media_kind(f"sub/a.{extension}") is Kind.VIDEO


@pytest.mark.parametrize("extension", [*sorted(IMAGE_EXTENSIONS), "PNG", "Jpeg"])
def test_images_in_any_letter_case(extension: str) -> None:
    assert media_kind(f"a.{extension}") is Kind.IMAGE


@pytest.mark.parametrize(
    "path",
    [
        "a.txt",
        "a",
        "",
        "mp4",
        ".mp4",
        "sub/.mp4",
        "a.mp4/",
        "a.mp4/b",
        "a.mp4.json",
        "a.mp4 ",
        "a.mp4\n",
        "a.avı",  # a dotless i, which some case foldings take for an i
        ".lightly/metadata/a.png",
        ".metaferry/a.png",
    ],
)
def test_no_media(path: str) -> None:
    assert media_kind(path) is None


@pytest.mark.parametrize("folder", [".lightly/", ".metaferry/", "sub/.lightly/", "a/b/.metaferry/x/"])
def test_nothing_in_a_reserved_folder_is_media_wherever_it_lies(folder: str) -> None:
    assert media_kind(folder + "a.png") is None
    assert media_kind(folder + "a.mp4") is None


def test_a_folder_that_is_only_called_alike_is_not_reserved() -> None:
    assert media_kind("sub/x.lightly/a.png") is Kind.IMAGE
    assert media_kind("sub/.lightly.png") is Kind.IMAGE


def test_the_tree_of_the_format_page() -> None:
    assert document_path("image_1.png") == ".lightly/metadata/image_1.json"
    assert document_path("sub/clip.mp4") == ".lightly/metadata/sub/clip.json"
    assert frame_document_path("sub/clip.mp4", 99, digits(200)) == ".lightly/metadata/sub/clip-099-mp4.json"
    assert frame_file_name("sub/clip.mp4", 99, digits(200)) == "sub/clip-099-mp4.png"


def test_only_the_last_extension_is_replaced() -> None:
    assert document_path("a.b.mp4") == ".lightly/metadata/a.b.json"
    assert document_path("v1.0/a.mp4") == ".lightly/metadata/v1.0/a.json"


def test_documents_are_for_media_alone() -> None:
    with pytest.raises(ValueError, match="no media"):
        document_path("notes.txt")
    with pytest.raises(ValueError, match="no video"):
        frame_document_path("a.png", 0, 1)


def test_the_extension_keeps_its_letter_case() -> None:
    assert frame_document_path("clip.MP4", 9, 2) == ".lightly/metadata/clip-09-MP4.json"


@pytest.mark.parametrize(
    ("frames", "first", "last"), [(1, "0", "0"), (9, "0", "8"), (10, "00", "09"), (1000, "0000", "0999")]
)
def test_the_count_is_measured_not_the_last_index(frames: int, first: str, last: str) -> None:
    width = digits(frames)
    assert frame_file_name("v.mp4", 0, width) == f"v-{first}-mp4.png"
    assert frame_file_name("v.mp4", frames - 1, width) == f"v-{last}-mp4.png"


@pytest.mark.parametrize("frames", [0, -1])
def test_a_video_without_frames_has_no_frame_names(frames: int) -> None:
    with pytest.raises(ValueError, match="no frame names"):
        digits(frames)


@pytest.mark.parametrize(("index", "width"), [(-1, 2), (10, 1), (0, 19), (0, 0)])
def test_an_index_that_has_no_name(index: int, width: int) -> None:
    with pytest.raises(ValueError, match="has no name"):
        frame_document_path("v.mp4", index, width)


@pytest.mark.parametrize(
    ("target", "parsed"),
    [
        (".lightly/metadata/sub/clip-099-mp4.json", FrameName("sub/clip.mp4", 99, 3)),
        (".lightly/metadata/a-1-b-02-MoV.json", FrameName("a-1-b.MoV", 2, 2)),
        (".lightly/metadata/a.b-0-mp4.json", FrameName("a.b.mp4", 0, 1)),
        (".lightly/metadata/a\nb-0-mp4.json", FrameName("a\nb.mp4", 0, 1)),
        (".lightly/metadata/--0-mp4.json", FrameName("-.mp4", 0, 1)),
    ],
)
def test_frame_documents_are_read_back(target: str, parsed: FrameName) -> None:
    assert parse_frame_document(target) == parsed
    assert frame_document_path(parsed.video_path, parsed.index, parsed.digits_written) == target


@pytest.mark.parametrize(
    "target",
    [
        ".lightly/metadata/clip.json",
        ".lightly/metadata/clip-099-png.json",
        ".lightly/metadata/clip-x-mp4.json",
        ".lightly/metadata/clip-٣-mp4.json",
        ".lightly/metadata/clip--mp4.json",
        ".lightly/metadata/-0-mp4.json",
        ".lightly/metadata/sub/-0-mp4.json",
        ".lightly/metadata/clip-0-mp4.json\n",
        ".lightly/metadata/clip-0-mp4.png",
        ".lightly/metadata/.lightly/clip-0-mp4.json",
        "elsewhere/clip-0-mp4.json",
        ".lightlyXmetadata/clip-0-mp4.json",
        ".lightly/metadata/clip-0-avı.json",
        f".lightly/metadata/clip-{'0' * 19}-mp4.json",
        "",
    ],
)
def test_what_is_no_frame_document(target: str) -> None:
    assert parse_frame_document(target) is None


def test_a_document_against_the_videos_there_are() -> None:
    videos = {"sub/clip.MP4": 200, "empty.mp4": 0}

    def of(name: str) -> tuple[Belonging, ...]:
        return parse_document(f".lightly/metadata/{name}", videos)

    assert of("sub/clip.json") == (Belonging(Kind.VIDEO, "sub/clip.MP4", None, Standing.CURRENT),)
    assert of("sub/clip-199-MP4.json") == (Belonging(Kind.FRAME, "sub/clip.MP4", 199, Standing.CURRENT),)
    assert of("sub/clip-200-MP4.json") == (Belonging(Kind.FRAME, "sub/clip.MP4", 200, Standing.GONE),)
    # The video was re-encoded and its count has another number of digits: every name is stale.
    assert of("sub/clip-0199-MP4.json") == (Belonging(Kind.FRAME, "sub/clip.MP4", 199, Standing.STALE),)
    assert of("empty-0-mp4.json") == (Belonging(Kind.FRAME, "empty.mp4", 0, Standing.GONE),)
    assert of("sub/clip-199-mp4.json") == ()  # the other letter case is another video
    assert of("other.json") == ()
    assert of("schema.json") == ()


def test_a_document_of_two_videos_names_both() -> None:
    found = parse_document(".lightly/metadata/v.json", {"v.mp4": 1, "v.avi": 1})
    assert {belonging.media for belonging in found} == {"v.mp4", "v.avi"}


@pytest.mark.parametrize(
    ("given", "cleaned"),
    [
        ("a.png", "a.png"),
        ("./a.png", "a.png"),
        ("/a.png", "a.png"),
        (".//./a.png", "a.png"),
        (" a.png", " a.png"),
        ("...png", "...png"),
        ("caf\u0065\u0301.png", "caf\u0065\u0301.png"),  # code points stay as they are
    ],
)
def test_what_a_record_may_call_its_media(given: str, cleaned: str) -> None:
    assert clean_record_name(given) == cleaned


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("", "no characters"),
        ("./", "no characters"),
        (".", "a `.` or `..` segment"),
        ("../a.png", "a `.` or `..` segment"),
        ("a/../b.png", "a `.` or `..` segment"),
        ("a/./b.png", "a `.` or `..` segment"),
        ("a/..", "a `.` or `..` segment"),
        ("a//b.png", "an empty segment"),
        ("a/", "an empty segment"),
        ("a\\b.png", "a backslash"),
        ("a\x00.png", "a control character"),
        ("a\n.png", "a control character"),
        ("a\x7f.png", "a control character"),
        ("a\x85.png", "a control character"),
        ("a\ud800.png", "a lone surrogate"),
    ],
)
def test_hostile_names_are_refused_with_the_reason(given: str, reason: str) -> None:
    with pytest.raises(HostileName) as caught:
        clean_record_name(given)
    assert caught.value.reason == reason


def test_a_media_key_is_not_cleaned() -> None:
    assert hostile("/a.png") == "an empty segment"
    assert hostile("./a.png") == "a `.` or `..` segment"
    assert hostile("sub/a b%#?+&:é.png") is None


def test_two_images_of_one_stem_collide() -> None:
    assert collisions(["a.png", "a.jpg"], {}) == [
        Collision(".lightly/metadata/a.json", ("a.jpg", "a.png")),
    ]


def test_an_image_beside_a_video_of_its_stem_collides() -> None:
    assert collisions(["a.mp4", "a.png"], {"a.mp4": 3}) == [
        Collision(".lightly/metadata/a.json", ("a.mp4", "a.png")),
    ]


def test_two_videos_of_one_stem_collide_but_their_frames_do_not() -> None:
    assert collisions(["v.mp4", "v.avi"], {"v.mp4": 5, "v.avi": 5}) == [
        Collision(".lightly/metadata/v.json", ("v.avi", "v.mp4")),
    ]
    assert frame_document_path("v.mp4", 0, 1) != frame_document_path("v.avi", 0, 1)


def test_an_image_named_like_a_frame_collides_with_that_frame() -> None:
    media = ["v-00-mp4.png", "v.mp4"]
    assert collisions(media, {"v.mp4": 10}) == [
        Collision(".lightly/metadata/v-00-mp4.json", ("v-00-mp4.png", "v.mp4")),
    ]
    assert collisions(media, {"v.mp4": 9}) == []  # its frames have one digit
    assert collisions(media, {}) == []  # its frames have no names yet
    assert collisions(["v-10-mp4.png", "v.mp4"], {"v.mp4": 10}) == []  # it has no such frame
    assert collisions(["v-00-mp4.png"], {"v.mp4": 10}) == []  # there is no such video


@pytest.mark.parametrize("name", ["schema.png", "schema.mp4"])
def test_a_media_that_would_overwrite_the_schema(name: str) -> None:
    assert collisions([name], {}) == [Collision(SCHEMA, (name,))]
    assert collisions([f"sub/{name}"], {}) == []
