"""Connections, TLS and HTTP are left to libcurl and the fsspec libraries: nothing in `storage/` opens any."""

from __future__ import annotations

import ast
from pathlib import Path

import metaferry.storage

MODULES = {"http.client", "urllib3", "obstore", "socketserver"}
CALLS = {
    "create_connection",
    "open_connection",
    "socketpair",
    "SSLContext",
    "create_default_context",
    "wrap_socket",
}


def test_nothing_below_storage_opens_a_connection() -> None:
    files = sorted(Path(metaferry.storage.__file__).parent.rglob("*.py"))
    assert len(files) > 40
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert not MODULES & {alias.name for alias in node.names}, (path, node.lineno)
            elif isinstance(node, ast.ImportFrom):
                assert node.module not in MODULES, (path, node.lineno)
            elif isinstance(node, ast.Attribute):
                assert node.attr not in CALLS, (path, node.lineno)
                made = isinstance(node.value, ast.Name) and (node.value.id, node.attr) == ("socket", "socket")
                assert not made, (path, node.lineno)
