"""Relations of a reader in FROM: `coco.images` as one name, in the engine's tree of a query. Pure.

The engine reads a dot as a schema. Nothing else of a query has one: what is no relation of a reader stays as
it is, and is refused by `seal`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from metaferry.tables.model import folded
from metaferry.tables.query import seal
from metaferry.tables.query.inputs import relations
from metaferry.tables.query.tree import Fault, Node, at, is_query, nodes

#: The relations of each table of the job that a reader reads, by the table's name.
Relations: TypeAlias = Mapping[str, Sequence[str]]


def qualify(query: Node, readers: Relations) -> list[Fault]:
    """Gives each relation of a reader one name (`coco.images`), with its own as alias; answers what is none.

    A table of one relation may be named without it.
    """
    if not readers:
        return []
    known = {folded(name): name for name in readers}
    found: list[Fault] = []
    renamed: set[tuple[str, str]] = set()
    for part in list(seal.base_tables(query, frozenset())):
        schema, name = str(part.get("schema_name") or ""), str(part["table_name"])
        owner = known.get(folded(schema or name))
        if owner is None or part.get("catalog_name"):
            continue
        if not schema:
            if len(readers[owner]) > 1:
                listed = ", ".join(f"{owner}.{one}" for one in readers[owner])
                found.append(Fault(f"{owner} is several relations", at(part), f"name one of {listed}"))
                continue
            relation, alias = readers[owner][0], name
        else:
            same = [one for one in readers[owner] if folded(one) == folded(name)]
            if not same:
                near = difflib.get_close_matches(name, readers[owner], 1, 0.6)
                listed = ", ".join(readers[owner])
                hint = f"did you mean {owner}.{near[0]}?" if near else f"there are {listed}"
                found.append(Fault(f"{owner} has no relation {name}", at(part), hint))
                continue
            relation, alias = same[0], name
            renamed.add((folded(schema), folded(name)))
        part["alias"] = part.get("alias") or alias
        part["schema_name"], part["table_name"] = "", f"{owner}.{relation}"
        if "qualified_name" in part:
            part["qualified_name"] = {"path": [part["table_name"]]}
    for node in nodes(query):
        steps = node.get("column_names") or []
        if node["class"] == "COLUMN_REF" and len(steps) > 2:
            first, second = folded(steps[0]), folded(steps[1])
            if (first, second) in renamed:
                node["column_names"] = steps[1:]
    return found or list(_twice(query, renamed))


def _twice(part: object, renamed: set[tuple[str, str]]) -> Iterator[Fault]:
    """Relations of two readers in one FROM that have one name."""
    if isinstance(part, list):
        for item in part:
            yield from _twice(item, renamed)
    elif isinstance(part, dict):
        if is_query(part) and isinstance(part.get("from_table"), dict):
            names = [folded(name) for name in relations(part["from_table"])]
            for name in sorted({name for _, name in renamed}):
                if names.count(name) > 1:
                    yield Fault(
                        f"two relations of this FROM are called {name}",
                        at(part["from_table"]),
                        "give one of them another name: … AS other",
                    )
        for value in part.values():
            yield from _twice(value, renamed)
