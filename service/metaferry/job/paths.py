"""Relative paths of a job file made absolute, in the plain values that the file holds. Pure."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from metaferry.job.keys import LOCATIONS, TABLES
from metaferry.urls import is_chained


def make_absolute(mapping: dict[str, Any], base: Path, *, as_written: bool = False) -> None:
    """Relative paths become absolute against the job file's folder; URLs stay as they are.

    `as_written`: before variables were put in, so that what begins with one stays as well.
    """

    def absolute(url: str) -> str:
        return url if as_written and url.startswith("${") else _absolute(url, base)

    for key in LOCATIONS:
        _absolute_location(mapping, key, absolute)
    if isinstance(mapping.get("media"), dict):
        _absolute_location(mapping["media"], "inventory", absolute)
    sources = mapping.get("sources")
    for source in sources if isinstance(sources, list) else ():
        if isinstance(source, dict):
            for key in TABLES:
                _absolute_location(source, key, absolute)
            if isinstance(source.get("telemetry"), dict):
                source["telemetry"] = dict(source["telemetry"])
                _absolute_location(source["telemetry"], "table", absolute)
            _absolute_database(source, base)
    tables = mapping.get("tables")
    if isinstance(tables, dict):
        for name in tables:
            _absolute_location(tables, name, absolute)
            if isinstance(tables[name], dict):
                for key in TABLES:
                    _absolute_location(tables[name], key, absolute)
                _absolute_database(tables[name], base)
    for key in ("schema", "scratch"):
        if isinstance(mapping.get(key), str) and (key, mapping[key]) != ("schema", "infer"):
            mapping[key] = absolute(mapping[key])
    schema = mapping.get("schema")
    if isinstance(schema, dict) and isinstance(schema.get("entries"), str):
        mapping["schema"] = {**schema, "entries": absolute(schema["entries"])}


def _absolute_location(holder: dict[str, Any], key: str, absolute: Callable[[str], str]) -> None:
    value = holder.get(key)
    if isinstance(value, str):
        holder[key] = absolute(value)
    elif isinstance(value, dict) and isinstance(value.get("url"), str):
        holder[key] = {**value, "url": absolute(value["url"])}


def _absolute_database(holder: dict[str, Any], base: Path) -> None:
    """`sqlite:///labels.db` is beside the job file; four slashes begin an absolute path."""
    value = holder.get("sql")
    if not isinstance(value, dict):
        return
    uri, head = value.get("uri"), "sqlite:///"
    if isinstance(uri, str) and uri.startswith(head) and not uri.startswith((f"{head}/", f"{head}${{")):
        path, mark, rest = uri.removeprefix(head).partition("?")
        holder["sql"] = {**value, "uri": f"{head}{quote(os.path.normpath(base))}/{path}{mark}{rest}"}


def _absolute(url: str, base: Path) -> str:
    if "://" in url or is_chained(url) or not url or url == "~" or url.startswith("~/"):
        return url
    path = os.path.normpath(base / url.removeprefix("file:"))
    return f"{path}/" if url.endswith("/") and path != "/" else path
