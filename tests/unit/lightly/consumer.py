"""The consumer's own models of a schema entry and of a selection config, out of the package `lightly`.

The package (1.5.26, the last line with the API client) needs torch and much more to be imported;
a generated model does not. Each is loaded, with the models that it refers to, from
`.cache/lightly-1.5.26`, where
`pip install --no-deps --require-hashes --target .cache/lightly-1.5.26 -r tests/lightly-package.lock`
puts it, with its parent packages left out.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PACKAGE = Path(__file__).parents[3] / ".cache" / "lightly-1.5.26"
_MODELS = "lightly.openapi_generated.swagger_client.models"


def configuration_entry(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The class `ConfigurationEntry`. Without the package: skipped, but failed where all must run."""
    return _model("configuration_entry", monkeypatch).ConfigurationEntry


def selection_config(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The class `SelectionConfigV4`, likewise."""
    return _model("selection_config_v4", monkeypatch).SelectionConfigV4


def _model(stem: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    folder = PACKAGE.joinpath(*_MODELS.split("."))
    if not folder.is_dir():
        message = f"the package lightly is not in {PACKAGE.name}; see {Path(__file__).name}"
        if os.environ.get("CI") or os.environ.get("METAFERRY_FULL"):
            pytest.fail(message)
        pytest.skip(message)
    parts = _MODELS.split(".")
    for length in range(1, len(parts) + 1):
        name = ".".join(parts[:length])
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    # Imported by the generated code for a name that it does not use here.
    aenum = ModuleType("aenum")
    aenum.no_arg = object()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "aenum", aenum)
    return _load(folder / f"{stem}.py", monkeypatch)


def _load(file: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    name = f"{_MODELS}.{file.stem}"
    if name in sys.modules:
        return sys.modules[name]
    for stem in re.findall(rf"^from {re.escape(_MODELS)}\.(\w+) import", file.read_text(), re.MULTILINE):
        _load(file.with_name(f"{stem}.py"), monkeypatch)
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module
