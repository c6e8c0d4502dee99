"""The query that makes records of COCO annotations where a job says no more than `annotations: coco.json`.

One record an image: `objects` (annotations with a category that are no crowd), `categories.NAME` for each
category of the file, `crowds`, `captions` and `keypoints` where the file has any, the image's own keys below
`attributes`, and the keys of `metadata` where the file has that. Text of SQL, made of what is staged; nothing
here runs it but by `Facts`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from metaferry.tables.readers.contract import Facts, TooMuch
from metaferry.tables.staging import quote_ident, quote_text

#: Categories that have a key of their own.
MOST: Final = 200
#: What would be read as a path in a key.
_PATH: Final = re.compile(r"[.\[\]]")


def category_key(name: str) -> str:
    """The last step of a category's key: `.`, `[` and `]`, which part a path, become `_`."""
    return _PATH.sub("_", name)


def records_query(facts: Facts) -> str:
    """The SELECT over `images`, `objects`, `categories` and `metadata`; tells of what does not fit together.

    Raises TooMuch.
    """
    _tell_contradictions(facts)
    categories = facts.rows(
        "SELECT DISTINCT coalesce(nullif(name, ''), id) FROM categories "
        "UNION SELECT DISTINCT o.category_id FROM objects o ANTI JOIN categories c ON c.id = o.category_id "
        "AND c._path = o._path WHERE o.category_id IS NOT NULL ORDER BY 1"
    )
    names = [str(name) for (name,) in categories]
    keys = category_keys(names, _instead)
    ((crowds, captions, keypoints),) = facts.rows(
        "SELECT bool_or(iscrowd), bool_or(caption IS NOT NULL), bool_or(num_keypoints IS NOT NULL) "
        "FROM objects"
    )
    ((objects,),) = facts.rows("SELECT count(*) FROM objects")
    given = _given(facts)
    listed, grouped, summed = ["i.file_name"], list[str](), list[str]()
    if objects or names or not given:
        listed.append("coalesce(n.objects, 0) AS objects")
    for number, (name, key) in enumerate(zip(names, keys, strict=True)):
        summed.append(f"(sum(k.objects) FILTER (WHERE k.name = {quote_text(name)}))::BIGINT AS c{number}")
        listed.append(f"coalesce(n.c{number}, 0) AS {quote_ident(f'categories.{key}')}")
    more = (
        (crowds, "crowds", "count(*) FILTER (WHERE o.iscrowd)"),
        (captions, "captions", "count(o.caption)"),
        (keypoints, "keypoints", "coalesce(sum(o.num_keypoints), 0)"),
    )
    for has, key, sql in more:
        if has:
            grouped.append(f"{sql} AS {key}")
            summed.append(f"sum(k.{key})::BIGINT AS {key}")
            listed.append(f"coalesce(n.{key}, 0) AS {key}")
    if facts.columns("images")["attributes"].startswith("STRUCT"):
        listed.append("i.attributes AS attributes")
    listed += given
    counted = ["count(*) FILTER (WHERE o.category_id IS NOT NULL AND NOT o.iscrowd) AS objects", *grouped]
    joined = "LEFT JOIN metadata m ON m.image_id = i.id AND m._path = i._path" if given else ""
    return (
        "WITH k AS (\n"
        "  SELECT o._path, o.image_id, coalesce(nullif(c.name, ''), o.category_id) AS name,\n"
        f"    {_lines(counted)}\n"
        "  FROM objects o LEFT JOIN categories c ON c.id = o.category_id AND c._path = o._path\n"
        "  GROUP BY o._path, o.image_id, coalesce(nullif(c.name, ''), o.category_id)\n"
        "), n AS (\n"
        f"  SELECT k._path, k.image_id, {_lines(['sum(k.objects)::BIGINT AS objects', *summed])}\n"
        "  FROM k GROUP BY k._path, k.image_id\n"
        ")\n"
        f"SELECT {_lines(listed)}\n"
        f"FROM images i LEFT JOIN n ON n.image_id = i.id AND n._path = i._path {joined}"
    )


def _tell_contradictions(facts: Facts) -> None:
    for sql, one, many, advice in _CONTRADICTIONS:
        ((count, first),) = facts.rows(f"SELECT count(*), min(found) FROM ({sql})")
        if count:
            facts.contradiction(one.format(first) if count == 1 else many.format(f"{count:,}", first), advice)


_EXPORT: Final = "export the annotations again, or leave such rows out in a query"
#: What does not fit together: a SELECT of it as `found`, one and several of it in words, and the advice.
_CONTRADICTIONS: Final = (
    (
        "SELECT o.image_id AS found FROM objects o "
        "ANTI JOIN images i ON i.id = o.image_id AND i._path = o._path",
        "1 annotation is of an image that the file does not list, and is not counted: image_id {0}",
        "{0} annotations are of images that the file does not list, and are not counted: image_id {1} …",
        _EXPORT,
    ),
    (
        "SELECT m.image_id AS found FROM metadata m "
        "ANTI JOIN images i ON i.id = m.image_id AND i._path = m._path",
        "1 element of metadata is of an image that the file does not list, and is not used: image_id {0}",
        "{0} elements of metadata are of images that the file does not list, and are not used: "
        "image_id {1} …",
        _EXPORT,
    ),
    (
        "SELECT o.category_id AS found FROM objects o WHERE o.category_id IS NOT NULL "
        "AND EXISTS (SELECT 1 FROM categories c WHERE c._path = o._path) AND NOT EXISTS "
        "(SELECT 1 FROM categories c WHERE c.id = o.category_id AND c._path = o._path)",
        "1 annotation is of a category that the file does not list, and is counted under its number: {0}",
        "{0} annotations are of categories that the file does not list, and are counted under their numbers: "
        "{1} …",
        "add the categories to the file, or name them in a query",
    ),
    (
        "SELECT id AS found FROM images GROUP BY _path, id HAVING count(*) > 1",
        "1 identifier is of several images, and each of them has the annotations of all: {0}",
        "{0} identifiers are of several images, and each of them has the annotations of all: {1} …",
        "merge files by giving images new identifiers",
    ),
    (
        "SELECT id AS found FROM objects WHERE id IS NOT NULL "
        "GROUP BY _path, image_id, id HAVING count(*) > 1",
        "1 identifier is of several annotations of an image, and all are counted: {0}",
        "{0} identifiers are of several annotations of an image, and all are counted: {1} …",
        "where a merge doubled them, count them once: count(DISTINCT o.id) in a query",
    ),
)


def _given(facts: Facts) -> list[str]:
    """The keys that the elements of `metadata` have, as columns."""
    if not facts.columns("metadata")["values"].startswith("STRUCT"):
        return []
    keys = facts.rows(
        'SELECT unnest(json_keys(to_json(v))) AS key FROM (SELECT "values" AS v FROM metadata '
        'WHERE "values" IS NOT NULL LIMIT 1) ORDER BY key'
    )
    return [
        f'struct_extract(m."values", {quote_text(key)}) AS {quote_ident(category_key(key))}'
        for (key,) in keys
    ]


def category_keys(names: Sequence[str], instead: Callable[[Sequence[str]], str]) -> list[str]:
    """The last steps of the categories' keys. Raises TooMuch where they are too many, or not different.

    `instead` makes a query with a few of them, to start from.
    """
    if len(names) > MOST:
        raise TooMuch(
            f"{len(names):,} categories, and at most {MOST} have a key of their own",
            instead(names[:3]),
        )
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(category_key(name).lower(), name)
        if other != name:
            raise TooMuch(f"the categories {other!r} and {name!r} would have one key", instead([other, name]))
    return [category_key(name) for name in names]


def _instead(names: Sequence[str]) -> str:
    """A query with a few categories, to start from."""
    columns = [
        f"count(*) FILTER (WHERE c.name = {quote_text(name)}) AS "
        + quote_ident(f"categories.{category_key(name)}_{number}")
        for number, name in enumerate(names, 1)
    ]
    return (
        f"SELECT i.file_name, count(o.id) AS objects, {_lines(columns)}\n"
        "FROM annotations.images i\n"
        "LEFT JOIN annotations.objects o ON o.image_id = i.id AND NOT o.iscrowd\n"
        "LEFT JOIN annotations.categories c ON c.id = o.category_id\n"
        "GROUP BY i.file_name"
    )


def _lines(items: Sequence[str]) -> str:
    return ",\n    ".join(items)
