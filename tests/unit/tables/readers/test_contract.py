"""The contract suite on the readers of this package, and on readers that break it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from metaferry.errors import JobError
from metaferry.job.readers.annotations import Annotations
from metaferry.job.readers.keys import Given as Asked
from metaferry.tables.readers import registry
from metaferry.tables.readers.annotations.coco import CocoReader, OpenedCoco
from metaferry.tables.readers.contract import Given, ReaderColumn, ReaderRelation, Rows
from metaferry.tables.readers.testing import check_damaged, check_reader

SAMPLES = Path(os.environ.get("METAFERRY_SAMPLES", Path(__file__).parents[5] / "shared/samples"))
COCO = {
    "images": [{"id": 1, "file_name": "a.png", "site": "x"}, {"id": 2, "file_name": "b.png"}],
    "annotations": [
        {"image_id": 1, "id": 1, "category_id": 3, "bbox": [1, 2, 3, 4], "attributes": {"a": 1}},
        {"image_id": 1, "id": 2, "bbox": [1, 2]},
    ],
    "categories": [{"id": 3, "name": "car"}],
    "metadata": [{"image_id": 1, "n": 1}],
}


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(COCO))
    return path


def test_coco_keeps_the_contract(coco: Path) -> None:
    tables = check_reader(CocoReader(), Annotations(url=str(coco)))
    assert tables["images"].column("file_name").to_pylist() == ["a.png", "b.png"]
    assert tables["objects"].column("@").to_pylist() == [1]


@pytest.mark.slow
@pytest.mark.skipif(not (SAMPLES / "coco").is_dir(), reason=f"there are no sample files in {SAMPLES}/coco")
def test_coco_keeps_the_contract_on_real_files() -> None:
    for path in sorted((SAMPLES / "coco").glob("*.json")):
        check_reader(CocoReader(), Annotations(url=str(path)))


def test_damaged_files_of_coco_raise_errors_of_ours_alone(coco: Path, tmp_path: Path) -> None:
    check_damaged(CocoReader(), coco, tmp_path)


class Broken(CocoReader):
    """A reader whose `open` answers what a test wants."""

    def __init__(self, kind: type[OpenedCoco]) -> None:
        self.kind = kind

    def open(self, given: Given) -> OpenedCoco:
        return self.kind(given)


class Unwanted(OpenedCoco):
    def read(self, wanted: Any, reject: Any) -> Any:
        yield from OpenedCoco.read(self, dict.fromkeys(CocoReader.relations), reject)


class NoPlaces(OpenedCoco):
    def read(self, wanted: Any, reject: Any) -> Any:
        for rows in OpenedCoco.read(self, wanted, reject):
            yield Rows(rows.relation, pa.nulls(len(rows.places), pa.int64()), rows.batch, rows.file)


class NoMeaning(OpenedCoco):
    def __init__(self, given: Given) -> None:
        column = ReaderColumn("id", pa.string(), "")
        relations = tuple(ReaderRelation(name, "x", (column,)) for name in CocoReader.relations)
        super().__init__(given, [], relations)


class NoQuery(OpenedCoco):
    def example(self, table: str) -> str:
        return f"SELECT now() AS file_name FROM {table}.images"


class Raises(OpenedCoco):
    def read(self, wanted: Any, reject: Any) -> Any:
        for rows in OpenedCoco.read(self, wanted, reject):
            raise KeyError(rows.relation)
        yield from ()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Unwanted, "not wanted|has"),
        (NoPlaces, "places are int64 without null"),
        (NoMeaning, "has no meaning of one line"),
        (NoQuery, "now is not allowed"),
    ],
)
def test_a_reader_that_breaks_a_rule_is_told_which(coco: Path, kind: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_reader(Broken(kind), Annotations(url=str(coco)))


def test_a_reader_that_raises_for_a_damaged_file_is_told(coco: Path, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="raises KeyError"):
        check_damaged(Broken(Raises), coco, tmp_path)


# -- the registry


class Point:
    """An entry point of another package."""

    def __init__(self, name: str, loaded: Any) -> None:
        self.name, self.value, self.dist = name, "other:Reader", None
        self._loaded = loaded

    def load(self) -> Any:
        if isinstance(self._loaded, Exception):
            raise self._loaded
        return self._loaded


class Foreign(CocoReader):
    name = "mine"


@pytest.mark.parametrize("loaded", [Foreign, Foreign()])
def test_a_reader_of_another_package_is_found_by_name(monkeypatch: pytest.MonkeyPatch, loaded: Any) -> None:
    monkeypatch.setattr(registry, "_points", lambda: (Point("mine", loaded),))
    asked = Asked("annotations", Annotations(url="x", reader="mine"))
    found = registry.reader_named(asked, "tables.t.annotations")
    assert found is not None
    assert found.name == "mine"


@pytest.mark.parametrize(
    ("name", "loaded", "message"),
    [
        ("coca", Foreign, "did you mean coco"),
        ("mine", ImportError("no module lib"), "cannot be imported: ImportError: no module lib"),
        ("mine", object(), "is none: it has no key"),
    ],
)
def test_what_is_no_reader_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, loaded: Any, message: str
) -> None:
    monkeypatch.setattr(registry, "_points", lambda: (Point("mine", loaded),))
    with pytest.raises(JobError) as caught:
        registry.reader_named(
            Asked("annotations", Annotations(url="x", reader=name)), "sources[0].annotations"
        )
    assert message in f"{caught.value} {caught.value.advice}"
    assert "sources[0].annotations" in str(caught.value)


def test_the_wanted_columns_of_a_relation_are_taken_alone_and_in_any_case_of_letters() -> None:
    columns = tuple(ReaderColumn(name, pa.string(), "x") for name in ("Site", "day", "n"))
    relation = ReaderRelation("images", "x", columns)
    assert [column.name for column in relation.taken(frozenset({"site", "n", "none"}))] == ["Site", "n"]
    assert relation.taken(frozenset()) == ()
    assert relation.taken(None) == columns
