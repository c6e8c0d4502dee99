"""What the fixture `fresh_datasource` gives; apart from it, since tests must not import a conftest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

#: `fresh_datasource(kind)` gives the URL and the options of a new, empty datasource.
FreshDatasource = Callable[[str], tuple[str, dict[str, Any]]]
