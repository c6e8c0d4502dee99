"""`metaferry export`: any tree as a table, what is not in it named, and the job that reads it back."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import types
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

import metaferry
from e2e.world import World
from metaferry.errors import SchemaError, UsageError
from metaferry.view.tree import reading
from unit.media import synthetic

pytestmark = pytest.mark.slow

ENTRIES = [
    {"name": "Scene", "path": "scene", "defaultValue": "undefined", "valueDataType": "CATEGORICAL_STRING"},
    {"name": "T", "path": "weather.temperature", "defaultValue": 0.5, "valueDataType": "NUMERIC_FLOAT"},
    {"name": "N", "path": "n", "defaultValue": 0, "valueDataType": "NUMERIC_INT"},
]


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A tree that others wrote, with each fault: five images, a video, two of its frames."""
    found = World(tmp_path)
    for name in ("a.png", "sub/b.png", "none.png", "plain.png", "bad.png", "v.mp4"):
        found.put(f"data/{name}", b"")
    found.put("data/.lightly/metadata/schema.json", json.dumps(ENTRIES))
    write(found, "a.json", {"metadata": {"n": 3, "scene": None, "reviewer": "R"}})
    write(found, "sub/b.json", {"type": "image", "metadata": {"weather": {"temperature": 7}}, "by": "us"})
    write(found, "plain.json", {"metadata": {}})
    write(found, "v.json", {"file_name": "v.mp4", "type": "video", "metadata": {"scene": "city"}})
    write(found, "v-0-mp4.json", {"file_name": "v-0-mp4.png", "type": "frame", "metadata": {"n": 1}})
    write(found, "v-1-mp4.json", {"metadata": {"scene": "tunnel"}})
    write(found, "gone.json", {"file_name": "gone.png", "metadata": {"n": 9}})
    return found


def write(world: World, name: str, document: Any) -> None:
    text = document if isinstance(document, str) else json.dumps(document, indent=1)
    world.put(f"data/.lightly/metadata/{name}", text)


def rows(path: Path) -> dict[str, dict[str, Any]]:
    table = pq.read_table(path).to_pylist(maps_as_pydicts="strict")
    assert [row["target"] for row in table] == sorted(row["target"] for row in table)
    return {row["target"].removeprefix(".lightly/metadata/"): row for row in table}


def test_the_table_is_what_the_consumer_shows(world: World) -> None:
    ran = world.run("export", "data", "-o", "x.parquet")
    assert ran.code == 0, ran.err
    found = rows(world.root / "x.parquet")
    shown = {
        name: (row["state"], row["scene"], row["weather.temperature"], row["n"])
        for name, row in found.items()
    }
    assert shown == {
        "a.json": ("document", "undefined", 0.5, 3),
        "bad.json": ("missing", "undefined", 0.5, 0),
        "none.json": ("missing", "undefined", 0.5, 0),
        "plain.json": ("default", "undefined", 0.5, 0),
        "sub/b.json": ("document", "undefined", 7.0, 0),
        "v.json": ("document", "city", 0.5, 0),
        "v-0-mp4.json": ("document", "city", 0.5, 1),
        "v-1-mp4.json": ("document", "tunnel", 0.5, 0),
    }
    assert (found["v-1-mp4.json"]["media"], found["v-1-mp4.json"]["frame"]) == ("v.mp4", 1)
    assert "x.parquet: 8 rows" in ran.out
    assert "1 document without media is not in the table" in ran.out
    assert sorted(path.name for path in world.root.glob("x*")) == ["x.parquet"]


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ('{"metadata": {"n": 1,}}', r"bad\.json:1:21: a trailing comma"),
        ('{"metadata": [1]}', 'an object "metadata"'),
        ('{"file_name": "a.png", "metadata": {}}', 'file_name is "a.png", and by its name this is "bad.png"'),
        ('{"type": "frame", "metadata": {}}', 'type is "frame", and by its name this is "image"'),
        ('{"metadata": {"n": 1.5}}', "n is 1.5, and by its entry it is NUMERIC_INT: a whole number"),
        ('{"metadata": {"x": 1e999}}', "beyond the range of a float"),
        ('{"metadata": {"x": "\\ud800"}}', "half a character"),
        ('{"metadata": {"x": NaN}}', "NaN is not JSON"),
        ("", "the file is empty"),
    ],
)
def test_an_invalid_document_is_named_left_out_and_counted(world: World, document: str, said: str) -> None:
    write(world, "bad.json", document)
    for mode in ([], ["--as-written"]):
        ran = world.run("export", "data", "-o", "x.parquet", *mode)
        assert ran.code == 3
        assert re.search(said, ran.out), ran.out
        assert "1 invalid document is not in the table" in ran.out
        assert "bad.json" not in rows(world.root / "x.parquet")
    ran = world.run("export", "data", "-o", "x.csv", "--format", "json")
    found = json.loads(ran.out)
    assert (found["invalid"], found["exit_code"], len(found["named"])) == (1, 3, 1)


def test_a_document_too_large_is_named_and_not_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LARGEST", 150)
    write(world, "bad.json", {"metadata": {"x": "y" * 200}})
    ran = world.run("export", "data", "-o", "x.parquet")
    assert ran.code == 3
    assert re.search(r"bad\.json: too large to be read: 2[0-9]{2} bytes", ran.out)


def test_as_written_is_what_each_document_says(world: World) -> None:
    ran = world.run("export", "data", "-o", "x.parquet", "--as-written")
    assert ran.code == 0, ran.err
    found = rows(world.root / "x.parquet")
    assert {name: (row["n"], row["scene"], row["reviewer"]) for name, row in found.items()} == {
        "a.json": (3, None, "R"),
        "gone.json": (9, None, None),
        "plain.json": (None, None, None),
        "sub/b.json": (None, None, None),
        "v.json": (None, "city", None),
        "v-0-mp4.json": (1, None, None),
        "v-1-mp4.json": (None, "tunnel", None),
    }
    assert (found["gone.json"]["state"], found["gone.json"]["media"]) == ("orphan", "gone.png")
    kept = pq.read_schema(world.root / "x.parquet").metadata[b"schema.json"]
    assert json.loads(kept) == ENTRIES
    assert "1 frame document lacks a key of the video's document" in ran.out
    assert "6 documents are in another form than a sync writes" in ran.out


def test_a_foreign_tree_comes_back_with_its_values(world: World, tmp_path: Path) -> None:
    """Into an empty place: keys outside the schema too, in the canonical form, and nothing of the orphan."""
    (world.root / "data/v.mp4").unlink()
    for name in ("v.json", "v-0-mp4.json", "v-1-mp4.json"):
        (world.data / ".lightly/metadata" / name).unlink()
    assert world.run("export", "data", "-o", "x.parquet", "--as-written").code == 0
    (tmp_path / "empty").mkdir()
    ran = world.run("sync", "x.parquet.job.yaml", "--set", "lightly=empty")
    assert ran.code == 0, ran.out
    below = tmp_path / "empty/.lightly/metadata"
    assert {str(path.relative_to(below)) for path in below.rglob("*.json")} == {
        "a.json", "plain.json", "schema.json", "sub/b.json",
    }  # fmt: skip
    assert (
        below / "a.json"
    ).read_text() == '{"file_name":"a.png","type":"image","metadata":{"n":3,"reviewer":"R"}}'
    assert json.loads((below / "schema.json").read_text()) == ENTRIES
    assert world.run("plan", "x.parquet.job.yaml", "--set", "lightly=empty", "--exit-code").code == 0


def test_what_does_not_come_back_is_said_and_not_in_the_job(world: World) -> None:
    write(world, "a.json", {"metadata": {"x": 1, "lightly_id": 3, "dot.ted": 1, "mixed": 1}})
    write(world, "plain.json", {"metadata": {"x": {"y": 2}, "mixed": 0.5}})
    ran = world.run("export", "data", "-o", "x.parquet", "--as-written")
    assert "note: of several types, so JSON text in the table, and not in the job: x" in ran.out
    assert "no source can give a key of this name, so not in the job: dot.ted, lightly_id" in ran.out
    assert "which come back as 1.0: mixed" in ran.out
    job = yaml.safe_load((world.root / "x.parquet.job.yaml").read_text())
    assert sorted(job["sources"][0]["metadata"]) == ["mixed", "n", "scene", "weather.temperature"]
    found = rows(world.root / "x.parquet")
    assert (found["a.json"]["x"], found["plain.json"]["x"]) == ("1", '{"y":2}')
    assert (found["a.json"]["lightly_id"], found["a.json"]["dot.ted"]) == (3, 1)


def test_a_job_has_its_media_and_no_secret_goes_into_the_job_beside_it(world: World) -> None:
    world.put("t.csv", "file_name,n\na.png,1\n")
    world.job |= {
        "input": "data",
        "media": {"exclude": ["sub/**"]},
        "storage": {"s3": {"key": "K", "secret": "very-secret"}},
        "sources": [{"table": "t.csv"}],
    }
    world.write_job()
    ran = world.run("export", "job.yaml", "-o", "x.parquet", "--as-written")
    assert ran.code == 0, ran.err
    assert "sub/b.json" not in rows(world.root / "x.parquet")
    assert "1 document of media that the job excludes is not in the table" in ran.out
    text = (world.root / "x.parquet.job.yaml").read_text()
    assert "very-secret" not in text
    assert "Left out, since it may be a secret: storage.s3" in text
    assert yaml.safe_load(text)["media"] == {"exclude": ["sub/**"]}


def test_csv_and_json_lines(world: World) -> None:
    assert world.run("export", "data", "-o", "x.csv").code == 0
    with (world.root / "x.csv").open(newline="") as file:
        found = {row["media"] + row["frame"]: row["weather.temperature"] for row in csv.DictReader(file)}
    assert (found["sub/b.png"], found["a.png"], found["v.mp41"]) == ("7.0", "0.5", "0.5")
    assert world.run("export", "data", "-o", "x.jsonl", "--as-written").code == 0
    lines = [json.loads(line) for line in (world.root / "x.jsonl").read_text().splitlines()]
    assert lines[0] | {"kind": None} == {
        "target": ".lightly/metadata/a.json", "kind": None, "media": "a.png", "frame": None,
        "state": "document", "n": 3, "reviewer": "R", "scene": None, "weather.temperature": None,
    }  # fmt: skip
    assert not list(world.root.glob("*.job.yaml"))


def test_what_is_wrong_is_said_before_anything_is_read(world: World) -> None:
    for out, said in (("x.txt", "does not say what it should be"), ("no/x.csv", "there is no folder")):
        ran = world.run("export", "nowhere", "-o", out)
        assert ran.code == 2
        assert said in ran.err


@pytest.mark.parametrize(
    "arguments", [["export", "-o", "x.csv"], ["report", "-o", "x.html"], ["check", "-o", "x.parquet"]]
)
def test_no_file_is_left_among_the_documents(world: World, arguments: list[str]) -> None:
    command, flag, name = arguments
    documents = world.root / "data/.lightly/metadata"
    (world.root / "linked").symlink_to(documents / "sub")
    before = {path: path.read_bytes() for path in world.root.rglob("*") if path.is_file()}
    for folder in (
        "data/.lightly/metadata",
        "data/.lightly/metadata/sub",
        "data/.lightly/../.lightly/metadata",
        "linked",
        f"file://{documents}",
        f"file://{world.root}/linked",
        "s3://bucket/any/.lightly/metadata",
        "simplecache::s3://bucket/.lightly/metadata/sub",
    ):
        ran = world.run(command, "data", flag, f"{folder}/{name}")
        assert ran.code == 2, folder
        assert "is among the documents" in ran.err, folder
    assert {path: path.read_bytes() for path in world.root.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("folder", ["data/.lightly", "data/lightly/metadata", "data/.lightly/metadata-old"])
def test_a_file_beside_the_documents_may_be_written(world: World, folder: str) -> None:
    (world.root / folder).mkdir(parents=True, exist_ok=True)
    ran = world.run("export", "data", "-o", f"{folder}/x.csv")
    assert ran.code == 0, ran.err
    assert (world.root / folder / "x.csv").exists()


def test_a_schema_that_is_none_ends_it(world: World) -> None:
    write(world, "schema.json", "[{]")
    with pytest.raises(SchemaError, match=r"schema\.json:1:3"):
        metaferry.export_file(world.data, world.root / "x.parquet")
    assert not (world.root / "x.parquet").exists()


def test_a_tree_without_a_schema_shows_nothing_and_says_so(world: World) -> None:
    (world.data / ".lightly/metadata/schema.json").unlink()
    ran = world.run("export", "data/.lightly/metadata", "-o", "x.parquet")
    assert ran.code == 0
    assert pq.read_schema(world.root / "x.parquet").names == ["target", "kind", "media", "frame", "state"]
    assert "there is no schema.json" in ran.out


def test_a_library_call_gives_arrow(world: World) -> None:
    with metaferry.export(str(world.data)) as found:
        assert sum(batch.num_rows for batch in found) == found.report.rows == 8
        made = pa.table(found)
        assert made.schema == found.schema
        counted = duckdb.sql("SELECT state, count(*) FROM made GROUP BY ALL ORDER BY ALL").fetchall()
    assert counted == [("default", 1), ("document", 5), ("missing", 2)]
    with metaferry.export(world.data, as_written=True) as found:
        next(iter(found))
        assert found.reader().read_all().num_rows == 7
    with pytest.raises(UsageError), metaferry.export("https://x:y/"):
        pass


def test_a_frame_under_wrong_digits_is_named_and_left_out(world: World) -> None:
    """No consumer looks for it: its values would be shown for a frame twice, or for none."""
    (world.data / "v.mp4").write_bytes(synthetic.video(12))
    write(world, "v-07-mp4.json", {"metadata": {"n": 7}})
    write(world, "v-99-mp4.json", {"metadata": {"n": 99}})
    ran = world.run("export", "data", "-o", "x.parquet")
    assert ran.code == 3, ran.err
    found = rows(world.root / "x.parquet")
    assert {name for name in found if name.startswith("v-")} == {"v-07-mp4.json"}
    said = "its frame number has 1 digit, and of a video of 12 frames it has 2: it is shown for no frame"
    right = ".lightly/metadata/v-01-mp4.json"
    assert f".lightly/metadata/v-1-mp4.json: {said}; its right name is {right}" in ran.out
    assert "2 misnamed documents are not in the table" in ran.out
    assert "2 documents without media are not in the table" in ran.out  # a frame that the video has not
    # As written, it is there, and the job that reads it back leaves it out.
    assert world.run("export", "data", "--as-written", "-o", "y.parquet").code == 3
    states = {name: row["state"] for name, row in rows(world.root / "y.parquet").items()}
    assert {name: state for name, state in states.items() if name.startswith("v-")} == {
        "v-0-mp4.json": "misnamed",
        "v-1-mp4.json": "misnamed",
        "v-07-mp4.json": "document",
        "v-99-mp4.json": "orphan",
    }
    job = yaml.safe_load((world.root / "y.parquet.job.yaml").read_text())
    assert job["sources"][0]["where"] == "state = 'document'"


# -- the recipes of docs/export.md


def recipe(title: str) -> str:
    text = (Path(__file__).parents[2] / "docs/export.md").read_text(encoding="utf-8")
    (code,) = re.findall(rf"### {title}\n.*?```python\n(.*?)```", text, re.DOTALL)[:1]
    return str(code)


@pytest.fixture
def file(world: World) -> str:
    assert world.run("export", "data", "-o", "fleet.parquet").code == 0
    return str(world.root / "fleet.parquet")


def test_recipe_duckdb(file: str) -> None:
    names: dict[str, Any] = {"file": file}
    exec(recipe("DuckDB"), names)
    assert names["rows"] == [("undefined", 5), ("city", 2), ("tunnel", 1)]


def test_recipe_pandas(file: str) -> None:
    pytest.importorskip("pandas", reason="pandas is no dependency, of the tests neither")
    names: dict[str, Any] = {"file": file}
    exec(recipe("pandas"), names)
    assert names["by_scene"].to_dict() == {"city": 0.5, "tunnel": 0.5, "undefined": 1.8}


class Studio:
    """What LightlyStudio's documentation says of a dataset: pairs of an id and a mapping, one type a key."""

    def __init__(self, root: str, names: list[str]) -> None:
        self.samples = [
            types.SimpleNamespace(
                sample_id=f"id-{n}", file_name=Path(name).name, file_path_abs=f"{root}/{name}"
            )
            for n, name in enumerate(names)
        ]
        self.values: dict[str, dict[str, Any]] = {}

    def __iter__(self) -> Any:
        return iter(self.samples)

    def update_metadata(self, pairs: list[tuple[str, dict[str, Any]]]) -> None:
        known = {sample.sample_id for sample in self.samples}
        for sample_id, values in pairs:
            assert sample_id in known
            assert all(isinstance(value, str | int | float | bool | list | dict) for value in values.values())
            self.values.setdefault(sample_id, {}).update(values)
        for key in {key for values in self.values.values() for key in values}:
            assert len({type(values[key]) for values in self.values.values() if key in values}) == 1


def test_recipe_lightly_studio_against_its_documented_calls(file: str) -> None:
    dataset = Studio("/data", ["a.png", "sub/b.png", "elsewhere.png"])
    exec(recipe("LightlyStudio"), {"file": file, "root": "/data", "dataset": dataset})
    assert dataset.values == {
        "id-0": {"scene": "undefined", "weather.temperature": 0.5, "n": 3},
        "id-1": {"scene": "undefined", "weather.temperature": 7.0, "n": 0},
    }


class FiftyOne:
    """What FiftyOne does in `set_values` with a mapping: by values of a key field, all of which exist."""

    def __init__(self, paths: list[str]) -> None:
        self.samples: dict[str, dict[str, Any]] = {path: {} for path in paths}

    def values(self, field_name: str) -> list[str]:
        assert field_name == "filepath"
        return list(self.samples)

    def set_values(self, field_name: str, values: dict[str, Any], *, key_field: str) -> None:
        assert key_field == "filepath"
        assert re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", field_name)
        for path, value in values.items():
            self.samples[path][field_name] = value


def test_recipe_fiftyone_against_its_documented_calls(file: str) -> None:
    names = ["a.png", "sub/b.png", "none.png", "v.mp4", "elsewhere.png"]
    dataset = FiftyOne([f"/data/{name}" for name in names])
    exec(recipe("FiftyOne"), {"file": file, "root": "/data", "dataset": dataset})
    assert dataset.samples["/data/sub/b.png"] == {"scene": "undefined", "weather_temperature": 7.0, "n": 0}
    assert dataset.samples["/data/v.mp4"]["scene"] == "city"


#: What runs in a product: the recipe on a dataset of the media of a folder, and what it shows then, as JSON.
_IN_STUDIO = """
from lightly_studio import ImageDataset
dataset = ImageDataset.create("recipe")
dataset.add_images_from_path(root, embed=False)
exec(code, {"file": file, "root": root, "dataset": dataset})
shown = {each.file_path_abs: {key: each.metadata[key] for key in keys} for each in dataset}
"""
_IN_FIFTYONE = """
import fiftyone
names = ["a.png", "sub/b.png", "elsewhere.png"]
dataset = fiftyone.Dataset()
dataset.add_samples([fiftyone.Sample(filepath=f"{root}/{name}") for name in names])
exec(code, {"file": file, "root": root, "dataset": dataset})
shown = {each.filepath: {key: each[key.replace(".", "_")] for key in keys} for each in dataset[:2]}
dataset.delete()
"""


@pytest.mark.parametrize(
    ("product", "variable", "code", "shown"),
    [
        ("LightlyStudio", "METAFERRY_LIGHTLY_STUDIO", _IN_STUDIO, {"a.png", "sub/b.png", "none.png"}),
        # Its server is the one that FIFTYONE_DATABASE_URI names. Its dataset lacks a media of the file.
        ("FiftyOne", "METAFERRY_FIFTYONE", _IN_FIFTYONE, {"a.png", "sub/b.png"}),
    ],
)
def test_a_recipe_in_the_product(
    tmp_path: Path, product: str, variable: str, code: str, shown: set[str]
) -> None:
    python = os.environ.get(variable)
    if not python:
        pytest.skip(f"{variable} names no Python that has {product}")
    made = World(tmp_path)
    for name in ("a.png", "sub/b.png", "none.png"):
        made.put(f"data/{name}", b"")
        Image.new("RGB", (32, 24)).save(made.data / name)
    made.put("t.csv", "file_name,scene,degrees,night\na.png,city,3.5,true\nsub/b.png,field,4,false\n")
    metadata = {"scene": "scene", "weather.temperature": "degrees", "night": "night"}
    made.job = {"input": "data", "sources": [{"table": "t.csv", "metadata": metadata}]}
    made.write_job()
    assert made.run("sync", "job.yaml").code == 0
    assert made.run("export", "job.yaml", "-o", "fleet.parquet").code == 0
    given = "import json, sys\nroot, file, code, keys = *sys.argv[1:4], json.loads(sys.argv[4])\n"
    ran = subprocess.run(
        [
            *(python, "-c", f'{given}{code}\nprint("shown:" + json.dumps(shown))', str(made.data)),
            *(str(tmp_path / "fleet.parquet"), recipe(product), json.dumps(list(metadata))),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ran.returncode == 0, ran.stderr[-4_000:]
    (line,) = [line for line in ran.stdout.splitlines() if line.startswith("shown:")]
    found = json.loads(line.removeprefix("shown:"))
    values = {
        "a.png": {"scene": "city", "weather.temperature": 3.5, "night": True},
        "sub/b.png": {"scene": "field", "weather.temperature": 4.0, "night": False},
        "none.png": {"scene": "undefined", "weather.temperature": 0.0, "night": False},
    }
    assert {str(Path(path).relative_to(made.data)): found[path] for path in found} == {
        name: values[name] for name in shown
    }
