"""What requests cost, where the list price is known. Pure."""

from __future__ import annotations

from typing import Final

#: US dollars for 1,000 PUT requests: the list price of S3 Standard in most regions.
_S3_PUTS: Final = 0.005


def put_price(url: str, writes: int) -> float | None:
    """US dollars for so many puts to a datasource; None below a cent, and where no price is known."""
    dollars = writes / 1_000 * _S3_PUTS
    return None if dollars < 0.01 or not url.startswith(("s3://", "s3a://")) else dollars
