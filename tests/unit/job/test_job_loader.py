"""The job file: YAML, places of faults, variables, `--set`."""

from __future__ import annotations

from pathlib import Path

import pytest

from metaferry.errors import JobError, exit_code
from metaferry.job.loader import storage_of
from metaferry.job.model import Job
from metaferry.job.readers.keys import READER_KEYS

GOOD = """\
input: s3://bucket/x
sources:
  - table: labels.csv
    metadata: {scene: scene, night: no, at: 12:30}
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path("job.yaml")


def load(file: Path, text: str, *overrides: str) -> Job:
    file.write_text(text)
    return Job.load(file, overrides)


def faults(file: Path, text: str, *overrides: str) -> list[str]:
    with pytest.raises(JobError) as caught:
        load(file, text, *overrides)
    assert exit_code(caught.value) == 2
    lines = caught.value.message.split("\n")
    return lines if len(lines) == 1 else lines[1:]


def test_a_good_file(file: Path) -> None:
    job = load(file, GOOD)
    assert job.sources[0].table.url == str(Path.cwd() / "labels.csv")
    assert job.sources[0].metadata == {"scene": "scene", "night": "no", "at": "12:30"}


def test_every_fault_is_listed_with_its_line(file: Path) -> None:
    text = """\
input: s3://bucket/x
meda: 5
storage:
  s3: {key: "${METAFERRY_NOT_SET}"}
sources:
  - table: labels.csv
    metdata: {a: b}
    frame: {value: n, base: 2}
  - file_name: x
    metadata: {a: b}
    metadata: {}
policy: {delete: orphan}
"""
    kinds = [f"`{key}`" for key in ("table", "query", *READER_KEYS)]
    assert faults(file, text) == [
        'job.yaml:2: meda: unknown key; did you mean "media"?',
        "job.yaml:4: storage.s3.key: the environment variable METAFERRY_NOT_SET is not set",
        'job.yaml:7: sources[0].metdata: unknown key; did you mean "metadata"?',
        "job.yaml:8: sources[0].frame.base: should be 0 or 1, is 2",
        f"job.yaml:9: sources[1]: a source has {', '.join(kinds[:-1])} or {kinds[-1]}: write one",
        "job.yaml:11: sources[1].metadata: stands twice; the first one is in line 10",
        "job.yaml:12: policy.delete: should be never or orphans, is 'orphan'",
    ]


@pytest.mark.parametrize(
    "source",
    [
        'sql: {uri: "${METAFERRY_NOT_SET}", query: SELECT 1}',
        'iceberg: {url: "${METAFERRY_NOT_SET}"}',
        'iceberg: {catalog: prod, name: "${METAFERRY_NOT_SET}"}',
        'table: "${METAFERRY_NOT_SET}"',
    ],
)
def test_a_variable_that_is_not_set_is_one_fault(file: Path, source: str) -> None:
    """A part of which the text is missing looked incomplete besides."""
    (only,) = faults(file, f"input: x\nsources:\n  - {source}\n")
    assert only.endswith("the environment variable METAFERRY_NOT_SET is not set")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "job.yaml: is empty"),
        ("# nothing\n", "job.yaml: is empty"),
        ("- a\n", "job.yaml:1: should be a mapping of keys"),
        ("a: [\n", "job.yaml:2: column 1: not YAML: while parsing a flow node"),
        ("a: 1\n---\nb: 2\n", "job.yaml:2: column 1: not YAML: expected a single document"),
        ("a: \x07\n", "job.yaml:1: a control character"),
        ("5: x\n", "job.yaml:1: a key should be text: put it in quotes"),
        ("input: !!python/object:os.system x\nsources: [{table: t}]", "is not known here"),
        ("input: &a [*a]\nsources: [{table: t}]", "an alias that holds itself"),
        ("input: x\n", "job.yaml:1: sources: is missing"),
        ("input: x\nsources: []\n", "job.yaml:2: sources: should not be empty"),
        ("input: x\nsources: 5\n", "job.yaml:2: sources: should be a list, is 5"),
        ("input: x\nsources: [5]\n", "job.yaml:2: sources[0]: should be a mapping, is 5"),
        ("input: ~/x\nsources: [{table: t}]\n", "job.yaml:1: input: `~` is not expanded"),
        ("input: x\nsources: [{table: t}]\nmemory_limit: lots", "job.yaml:3: memory_limit: should be a size"),
        (
            "input: x\nsources: [{table: t}]\nconcurrency: 0",
            "job.yaml:3: concurrency: should be at least 1, is 0",
        ),
        ("input: x\nsources: [{table: t, name: a}, {table: u, name: a}]", "two sources are named 'a'"),
    ],
)
def test_what_is_no_job_is_one_clear_line(file: Path, text: str, message: str) -> None:
    (line, *more) = faults(file, text)
    assert not more or text.startswith(("5", "input: &a"))
    assert message in line


def test_an_explosion_of_aliases_ends(file: Path) -> None:
    text = "a0: &a0 [x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
    )
    assert any("more than 100,000 values" in line for line in faults(file, text))


def test_anchors_and_merge_keys(file: Path) -> None:
    text = """\
input: x
sources:
  - table: a.csv
    metadata: &common {scene: scene, city: city}
  - table: b.csv
    metadata: {<<: *common, city: upper(city)}
"""
    assert load(file, text).sources[1].metadata == {"scene": "scene", "city": "upper(city)"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "there is no such job file"),
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: path.write_bytes(b"input: \xff"), "is not UTF-8 text (byte 7)"),
    ],
)
def test_a_file_that_cannot_be_read(file: Path, make: object, message: str) -> None:
    assert callable(make)
    make(file)
    with pytest.raises(JobError, match=r"job\.yaml: ") as caught:
        Job.load(file)
    assert message in caught.value.message


def test_variables(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METAFERRY_A", "bucket")
    monkeypatch.setenv("METAFERRY_N", "8")
    monkeypatch.setenv("METAFERRY_NESTED", "${METAFERRY_A}")
    job = load(
        file,
        """\
input: s3://${METAFERRY_A}/$${x}/${METAFERRY_NESTED}
concurrency: ${METAFERRY_N}
sources: [{table: t.csv}]
""",
    )
    assert job.input.url == "s3://bucket/${x}/${METAFERRY_A}"
    assert job.concurrency == 8
    assert "names no environment variable" in faults(file, GOOD.replace("bucket", "${a b}"))[0]
    assert "names no environment variable" in faults(file, GOOD.replace("bucket", "${a"))[0]


def test_overrides_are_typed_as_yaml(file: Path) -> None:
    job = load(
        file,
        GOOD,
        "policy.max_rejects=5",
        "policy.max_delete=1%",
        "input.options.anon=true",
        "sources[0].frame.base=1",
        "sources[0].frame.value=n",
        "sources[0].metadata.weather.temperature=(f - 32) * 5 / 9",
        "sources.0.name=labels",
        "media.include=['**/*.png']",
        "storage.s3.endpoint_url=http://127.0.0.1:1",
        "lightly=",
    )
    assert job.policy.max_rejects == 5
    assert job.policy.max_delete == "1%"
    assert job.input.url == "s3://bucket/x"
    assert job.input.options == {"anon": True}
    assert job.sources[0].frame is not None
    assert job.sources[0].frame.base == 1
    assert job.sources[0].metadata is not None
    assert job.sources[0].metadata["weather.temperature"] == "(f - 32) * 5 / 9"
    assert job.sources[0].name == "labels"
    assert job.media.include == ("**/*.png",)
    assert job.storage == {"s3": {"endpoint_url": "http://127.0.0.1:1"}}
    assert job.lightly is None


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("policy.max_rejecs=5", '--set policy.max_rejecs: unknown key; did you mean "max_rejects"?'),
        ("polcy.delete=never", '--set polcy.delete: unknown key; did you mean "policy"?'),
        ("policy.delete=all", "--set policy.delete: should be never or orphans, is 'all'"),
        ("policy=5", "--set policy: should be a mapping, is 5"),
        ("sources[7].name=x", "--set sources[7].name: there is no sources[7] to set it in"),
        ("input=${METAFERRY_NOT_SET}", "--set input: the environment variable METAFERRY_NOT_SET is not set"),
        ("policy.max_rejects=[", "--set policy.max_rejects: column 2: not YAML: "),
        ("policy.max_rejects", "should be key=value"),
        ("=5", "should be key=value"),
        ("a..b=5", "should be key=value"),
        ("a.=5", "should be key=value"),
    ],
)
def test_a_wrong_override_is_a_fault_at_the_flag(file: Path, override: str, message: str) -> None:
    (line,) = faults(file, GOOD, override)
    assert message in line


def test_storage_options_from_flags_alone() -> None:
    assert storage_of(["storage.s3.anon=true", "storage.gs.token=anon"]) == {
        "s3": {"anon": True},
        "gs": {"token": "anon"},
    }
    assert storage_of([]) == {}
    for wrong in ("policy.delete=never", "storage.s3=5", "storage=5"):
        with pytest.raises(JobError, match="--set"):
            storage_of([wrong])


@pytest.mark.parametrize("text", ["auto", "1", "8", "256"])
def test_workers_as_they_are_documented(tmp_path: Path, text: str) -> None:
    """Written down in the file and by a flag."""
    job = "input: data\nsources: [{table: t.csv}]\n"
    (tmp_path / "file.yaml").write_text(f"{job}workers: {text}\n")
    (tmp_path / "flag.yaml").write_text(job)
    expected = "auto" if text == "auto" else int(text)
    assert Job.load(tmp_path / "file.yaml").workers == expected
    assert Job.load(tmp_path / "flag.yaml", [f"workers={text}"]).workers == expected


@pytest.mark.parametrize("text", ["0", "257", "many", "true", "1.5", "null"])
def test_workers_that_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "job.yaml").write_text(f"input: data\nsources: [{{table: t.csv}}]\nworkers: {text}\n")
    with pytest.raises(JobError, match=r"job.yaml:3: workers: should be"):
        Job.load(tmp_path / "job.yaml")
