"""A batch of puts through an adapter that makes one blocking put at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from metaferry.errors import Expired, StorageError, Throttled
from metaferry.storage.protocol import Direct, Put
from metaferry.storage.retry.attempts import Attempted


def one_by_one(direct: Direct, puts: Sequence[Put], ended: Callable[[], bool]) -> Attempted:
    """`Batched.put_batch` for an adapter that has only `put_blocking`."""
    attempted: list[str | StorageError | None] = [None] * len(puts)
    for n, (path, data, only_if, _) in enumerate(puts):
        if ended():
            break
        try:
            attempted[n] = direct.put_blocking(path, data, only_if=only_if).token
        except (Throttled, Expired) as error:
            attempted[n] = error
            break  # the others wait for the pause that the store asks for, or for credentials
        except StorageError as error:
            attempted[n] = error
    return attempted
