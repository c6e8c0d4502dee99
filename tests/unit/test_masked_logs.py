"""Log records are edited while a block is open, in any nesting, and never by a factory that calls itself."""

from __future__ import annotations

import contextlib
import logging

import pytest

from metaferry.masked_logs import RecordEdit, masked_logs


def _append(mark: str) -> RecordEdit:
    def edit(record: logging.LogRecord) -> None:
        record.msg = f"{record.msg}{mark}"

    return RecordEdit(edit)


def test_blocks_that_end_in_another_order_than_they_began(caplog: pytest.LogCaptureFixture) -> None:
    original = logging.getLogRecordFactory()
    first, second = _append(" first"), _append(" second")
    log = logging.getLogger("somebody.else")
    try:
        outer, inner = contextlib.ExitStack(), contextlib.ExitStack()
        outer.enter_context(first.active())
        inner.enter_context(second.active())
        outer.close()  # below the factory of `second`, which stays
        with first.active():
            log.warning("both")
        inner.close()
        log.warning("none")
        with second.active(), first.active(), second.active():
            log.warning("each once")
    finally:
        logging.setLogRecordFactory(original)
    written = [record.msg for record in caplog.records]
    assert written == ["both second first", "none", "each once second first"]


def test_a_factory_of_somebody_else_stays(caplog: pytest.LogCaptureFixture) -> None:
    original = logging.getLogRecordFactory()
    edit = _append(" edited")
    try:
        with edit.active():
            below = logging.getLogRecordFactory()

            def theirs(*args: object, **kwargs: object) -> logging.LogRecord:
                return below(*args, **kwargs)

            logging.setLogRecordFactory(theirs)
        assert logging.getLogRecordFactory() is theirs
        with edit.active():
            logging.getLogger("x").warning("once")
        logging.getLogger("x").warning("plain")
    finally:
        logging.setLogRecordFactory(original)
    assert [record.msg for record in caplog.records] == ["once edited", "plain"]


def test_handlers_that_copy_records_work_during_a_run(caplog: pytest.LogCaptureFixture) -> None:
    # structlog's formatter, which Airflow 3 uses, and handlers of queues and sockets do so.
    with masked_logs():
        logging.getLogger("somebody.else").warning("Bearer %s", "canary-token")
        logging.getLogger("metaferry.x").warning("%d rows", 2)
        copies = [logging.makeLogRecord(record.__dict__) for record in caplog.records]
    assert [copy.getMessage() for copy in copies] == ["Bearer ***", "2 rows"]
