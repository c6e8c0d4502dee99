"""The trigger that waits for a lease in the triggerer, where a task that waits holds no worker slot."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Any

from metaferry.airflow.connections import connection_names, storage_options
from metaferry.airflow.databases import database_uri
from metaferry.airflow.roles import exchanged
from metaferry.airflow.versions import BaseHook, BaseTrigger, TriggerEvent
from metaferry.errors import MetaferryError

if TYPE_CHECKING:
    from metaferry.job.model import Job


class LeaseTrigger(BaseTrigger):
    """Fires when the lease of a job's datasource may be free, or at `until`.

    job: a mapping that holds no secret, with every `${VAR}` as written: the triggerer has to have their
    values. The connections are read in the triggerer, those of databases for variables of the job. until: a
    moment in ISO 8601, with its offset. poll: seconds before the first look and between two, each of which is
    one GET.

    The event is `{"free": bool, "fault": str, "until": str}`. It may be free when there is none, or when it
    is the same for `lease_for` seconds: then the task that goes on takes it over, or finds it renewed and
    waits again. `fault` says why the triggerer could not look; it fires at once then.
    """

    def __init__(
        self,
        *,
        job: Mapping[str, Any],
        until: str,
        poll: float,
        aws_conn_id: str | None = None,
        gcp_conn_id: str | None = None,
        azure_conn_id: str | None = None,
        sql_conn_ids: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.job = dict(job)
        self.until = until
        self.poll = poll
        self.aws_conn_id = aws_conn_id
        self.gcp_conn_id = gcp_conn_id
        self.azure_conn_id = azure_conn_id
        self.sql_conn_ids = dict(sql_conn_ids or {})

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The path of this class, and its arguments."""
        connections = ("aws_conn_id", "gcp_conn_id", "azure_conn_id", "sql_conn_ids")
        names = ("job", "until", "poll", *connections)
        return "metaferry.airflow.triggers.LeaseTrigger", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Looks at the lease until it fires, once.

        Not before `poll`, or `until`: the scheduler takes a task for failed that goes on before it has heard
        that the process which deferred it ended (apache/airflow#72716), and a busy one hears of that late.
        """
        try:
            await asyncio.sleep(min(self.poll, self._left()))
            job = await self._read_job()
            free = await self._wait(job)
        except MetaferryError as error:
            yield self._event(fault=str(error))
        except Exception as error:  # noqa: BLE001 - a connection that is missing raises anything
            yield self._event(fault=type(error).__name__)
        else:
            yield self._event(free=free)

    def _event(self, *, free: bool = False, fault: str = "") -> TriggerEvent:
        return TriggerEvent({"free": free, "fault": fault, "until": self.until})

    async def _wait(self, job: Job) -> bool:
        """Whether it may be free; False at `until`."""
        from metaferry.runs.lease.held import lease_token

        token, since = "", monotonic()
        while True:
            # In a thread: a look opens the store, and the triggerer has one event loop for all triggers.
            found = await asyncio.to_thread(lease_token, job)
            if not found:
                return True
            if found != token:
                token, since = found, monotonic()
            elif monotonic() - since >= job.lease_for:
                return True
            left = self._left()
            if not left:
                return False
            await asyncio.sleep(min(self.poll, left))

    def _left(self) -> float:
        """Seconds to `until`."""
        return max(0.0, (datetime.fromisoformat(self.until) - datetime.now(UTC)).total_seconds())

    async def _read_job(self) -> Job:
        from metaferry.job.serialize import restore_job

        names = connection_names(self.aws_conn_id, self.gcp_conn_id, self.azure_conn_id)
        storage = {}
        for scheme, name in names.items():
            options = storage_options(await _connection(name), scheme)
            storage[scheme] = await asyncio.to_thread(exchanged, options)
        # Not through the environment, which all triggers of this process share.
        uris = {name: database_uri(await _connection(of)) for name, of in self.sql_conn_ids.items()}
        return restore_job(self.job, variables=uris).with_storage(storage)


async def _connection(name: str) -> Any:
    """A connection, read as a triggerer may: its event loop must not be blocked."""
    if hasattr(BaseHook, "aget_connection"):
        return await BaseHook.aget_connection(name)
    from asgiref.sync import sync_to_async  # Airflow's own dependency

    return await sync_to_async(BaseHook.get_connection)(name)
