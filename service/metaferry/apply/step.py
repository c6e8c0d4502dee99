"""One step of a plan, applied: the request, and how a conflict with an external change is settled."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from metaferry.apply.outage import cause_of
from metaferry.apply.outcome import Applied
from metaferry.apply.shards import Step
from metaferry.errors import Conflict, NotFound, Scope, StorageError
from metaferry.planning.formats import Action, Outcome
from metaferry.progress import Stop
from metaferry.storage.protocol import ABSENT, ANYTHING, Capabilities, Precondition, Put, Storage


class IfChanged(StrEnum):
    """What becomes of a document that changed since the plan was made, and is to be written."""

    REPLACE = "replace"  # planned again on what is there now, once
    LEAVE = "leave"  # since what is there now was not read, so no backup has it
    LEAVE_NEWER = "leave_newer"  # since runs after this plan have written


#: Why such a document is left, and what to do.
_LEFT: Final = {
    IfChanged.LEAVE: ("changed by somebody else since it was read; left as they wrote it", ""),
    IfChanged.LEAVE_NEWER: (
        "changed since the plan was made, and runs after it have written here: left as it is",
        "make the plan again, with --out as before",
    ),
}


def precondition(step: Step, capabilities: Capabilities) -> Precondition:
    """The precondition of a step: the token that was listed, where the store can check it."""
    wanted: Precondition = ABSENT if step.expect is None else step.expect
    return wanted if capabilities.honours(wanted) else ANYTHING


def to_put(steps: Sequence[Step], capabilities: Capabilities) -> list[Put]:
    """What `Storage.put_blocking` takes for writes."""
    if not capabilities.conditional:
        return [(target, body, ANYTHING, md5) for target, _, body, md5, _ in steps]
    if not capabilities.replaces:
        return [
            (target, body, ABSENT if expect is None else ANYTHING, md5)
            for target, _, body, md5, expect in steps
        ]
    return [
        (target, body, ABSENT if expect is None else expect, md5) for target, _, body, md5, expect in steps
    ]


def done(step: Step, token: str | None, *, foreign: bool = False) -> Applied:
    """The outcome of a step that succeeded."""
    target, action, body, md5, _ = step
    written = None if action is Action.DELETE else md5
    return Applied(target, action, Outcome.DONE, token, written, "", foreign, len(body))


async def apply_step(
    step: Step,
    storage: Storage,
    failed: StorageError | None = None,
    *,
    stop: Stop | None = None,
    if_changed: IfChanged = IfChanged.REPLACE,
) -> Applied:
    """Writes or deletes. `failed` is the error of a first attempt; `if_changed` is for a document that
    changed since it was listed.

    Raises the StorageError that concerns every document, or may do so, and `Deferred` where a drain ended
    its waits; every other error is the outcome of the step.
    """
    try:
        if step.action is Action.DELETE:
            await storage.delete(step.target, only_if=precondition(step, storage.capabilities))
            return done(step, None)
        try:
            put_result = await storage.put(
                step.target, step.body, only_if=precondition(step, storage.capabilities), failed=failed
            )
        except Conflict:
            if stop is not None and stop.requested:
                raise  # it may have been written by the run that took over the lease
            if if_changed is not IfChanged.REPLACE:
                why, advice = _LEFT[if_changed]
                return not_done(step, Outcome.CONFLICT, Conflict(why, advice=advice))
            return await _replace(step, storage)
        return done(step, put_result.token)
    except StorageError as error:
        if error.scope is not Scope.OBJECT:
            raise
        if not isinstance(error, Conflict):
            return not_done(step, Outcome.REFUSED if error.lasting else Outcome.FAILED, error)
    what = "left as they wrote it" if step.action is Action.DELETE else "twice; left as they wrote it"
    message = f"changed by somebody else since it was listed, {what}"
    return not_done(step, Outcome.CONFLICT, Conflict(message))


async def _replace(step: Step, storage: Storage) -> Applied:
    """Plans the document again, once, on what is there now: it is wanted, so theirs is replaced.

    As `document.modified_externally` in a plan: never silently, and only the version that was looked
    at. Bytes that equal ours never get here: the storage takes them for our own put.
    """
    try:
        only_if: Precondition = (await storage.read(step.target, 0, 1)).token
    except NotFound as error:
        if not error.path:
            raise
        only_if = ABSENT
    put_result = await storage.put(step.target, step.body, only_if=only_if)
    return done(step, put_result.token, foreign=True)


def not_done(step: Step, outcome: Outcome, error: StorageError) -> Applied:
    """The outcome of a step that failed with `error`; with its advice only where a retry is of no use."""
    advice = "" if error.retryable else error.advice
    return Applied(
        step.target, step.action, outcome, None, None, error.message, advice=advice, cause=cause_of(error)
    )
