"""The version of this package, for whoever must not import its face."""

from typing import Final

__version__: Final = "0.1.0"
