"""The query that makes records of images and their objects, where a job says no more than where a file is.

One record a row of `images`: `objects`, `categories.NAME` for each category of the file, and what else the
format has of an image. For formats whose relations `images` and `objects` are joined by `image`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from metaferry.tables.readers.annotations.coco_records import category_keys
from metaferry.tables.readers.contract import Facts, Wanted
from metaferry.tables.staging import quote_ident, quote_text

#: What the query reads of the two relations, besides the columns of a format.
NEEDS: Final = (frozenset({"image", "file_name"}), frozenset({"image", "category"}))


def needs(images: Sequence[str] = (), objects: Sequence[str] = ()) -> Wanted:
    """`Opened.needs`, with further columns of a format."""
    return {"images": NEEDS[0] | set(images), "objects": NEEDS[1] | set(objects)}


def counted_query(facts: Facts, *, keys: Sequence[str] = (), frame: bool = False, where: str = "true") -> str:
    """The SELECT. `keys` are columns of `images` that become keys, of those that hold anything; `frame`: its
    frames become records of frames; `where` says which objects `o` are counted. Raises TooMuch.
    """
    names = [
        str(name)
        for (name,) in facts.rows(
            f"SELECT DISTINCT o.category FROM objects o WHERE o.category IS NOT NULL AND {where} ORDER BY 1"
        )
    ]
    steps = category_keys(names, example)
    ((objects,),) = facts.rows(f"SELECT count(*) FROM objects o WHERE {where}")
    held = _held(facts, keys)
    listed = ["i.file_name", *(["i.frame"] if frame else [])]
    if objects or not held:
        listed.append("coalesce(n.objects, 0) AS objects")
    counted = ["count(*) AS objects"]
    for number, (name, step) in enumerate(zip(names, steps, strict=True)):
        counted.append(f"count(*) FILTER (WHERE o.category = {quote_text(name)}) AS c{number}")
        listed.append(f"coalesce(n.c{number}, 0) AS {quote_ident(f'categories.{step}')}")
    listed += [f"i.{quote_ident(key)} AS {quote_ident(key)}" for key in held]
    return (
        f"WITH n AS (\n  SELECT o.image, {_lines(counted)}\n  FROM objects o WHERE {where}\n"
        "  GROUP BY o.image\n)\n"
        f"SELECT {_lines(listed)}\n"
        "FROM images i LEFT JOIN n ON n.image = i.image"
    )


def _held(facts: Facts, keys: Sequence[str]) -> list[str]:
    """Those columns of `images` that have a value in any row: a STRUCT for what is JSON."""
    types = facts.columns("images")
    known = [key for key in keys if types[key] != '"NULL"']
    if not known:
        return []
    ((*any_of,),) = facts.rows(
        f"SELECT {', '.join(f'bool_or({quote_ident(key)} IS NOT NULL)' for key in known)} FROM images"
    )
    return [key for key, any_ in zip(known, any_of, strict=True) if any_]


def example_of_cars(table: str) -> str:
    """A query to start from, where rows of `images` are whole images and videos, or frames of them."""
    return (
        "SELECT i.file_name, count(o.image) AS objects,\n"
        "       count(*) FILTER (WHERE o.category = 'car') AS cars\n"
        f"FROM {table}.images i LEFT JOIN {table}.objects o ON o.image = i.image\n"
        "WHERE i.frame IS NULL\n"
        "GROUP BY i.image, i.file_name"
    )


def example(names: Sequence[str], table: str = "annotations") -> str:
    """A query with counts of a few categories, to start from."""
    columns = [
        f"count(*) FILTER (WHERE o.category = {quote_text(name)}) AS {quote_ident(f'category_{number}')}"
        for number, name in enumerate(names, 1)
    ]
    return (
        f"SELECT i.file_name, {_lines(['count(o.image) AS objects', *columns])}\n"
        f"FROM {table}.images i LEFT JOIN {table}.objects o ON o.image = i.image\n"
        "GROUP BY i.image, i.file_name"
    )


def _lines(items: Sequence[str]) -> str:
    return ",\n    ".join(items)
