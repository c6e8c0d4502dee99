"""Documents in place that no ledger knows: read before they are replaced or deleted."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from metaferry.errors import Denied
from metaferry.planning import existing
from unit.planning.planner_world import Plan, Table, decide, document

NAMES = [f"{n}.png" for n in range(5)]
ROWS = Table([(name, None, 1) for name in NAMES])


def theirs(name: str, **values: Any) -> bytes:
    return json.dumps({"file_name": name, "type": "image", "metadata": values}).encode()


def others(**values: Any) -> dict[str, bytes]:
    return {document(name.replace("png", "json")): theirs(name, **values) for name in NAMES}


def said(plan: Plan, code: str) -> list[str]:
    return [message for found, _, message, _ in plan.findings if found == code]


def test_keys_that_no_table_gives_stop_the_run() -> None:
    documents = others(n=2) | {document("3.json"): theirs("3.png", n=1, reviewer="R", quality=3)}
    plan = decide(NAMES, ROWS, documents=documents)
    assert plan.decided.stopped == (
        "1 document in place that no run is known to have written has keys that no table gives, "
        "which would be lost: quality (1), reviewer (1)"
    )
    assert "policy.existing=replace" in plan.decided.advice
    [message] = said(plan, "document.unsourced")
    assert message.endswith("what would be lost: quality, reviewer")
    [message] = said(plan, "document.existing")
    assert message.startswith("4 documents in place that no run is known to have written")
    assert sorted(plan.read) == sorted(documents)


def test_the_other_way_is_to_replace_them_unread() -> None:
    plan = decide(NAMES, ROWS, documents=others(reviewer="R"), policy={"existing": "replace"})
    assert (plan.decided.stopped, plan.read) == ("", [])
    assert set(plan.actions.values()) == {"update"}
    [message] = said(plan, "document.existing")
    assert message.startswith("5 documents in place")


def test_where_only_values_differ_a_finding_counts_them() -> None:
    plan = decide(NAMES, ROWS, documents=others(n=2))
    assert plan.decided.stopped == ""
    assert [message.split()[0] for message in said(plan, "document.existing")] == ["5"]
    assert said(plan, "document.unsourced") == []


def test_documents_whose_bytes_would_not_change_are_not_read() -> None:
    bodies = decide(NAMES, ROWS).bodies
    documents = {target: json.dumps(body, separators=(",", ":")).encode() for target, body in bodies.items()}
    plan = decide(NAMES, ROWS, documents=documents)
    assert (plan.read, set(plan.actions.values())) == ([], {"keep"})
    # Where the listing proves nothing they are written again, and say nothing that is not so.
    plan = decide(NAMES, ROWS, documents=documents, proved=False)
    assert (len(plan.read), plan.decided.stopped) == (5, "")
    assert said(plan, "document.existing") == []


def test_what_the_ledger_knows_is_not_read() -> None:
    documents = others(reviewer="ours, before the column was dropped")
    ledger = {
        t: (f"token-{hashlib.md5(b).hexdigest()}", hashlib.md5(b).hexdigest()) for t, b in documents.items()
    }
    plan = decide(NAMES, ROWS, documents=documents, ledger=ledger)
    assert (plan.read, plan.decided.stopped) == ([], "")
    assert {code for code, *_ in plan.findings} == {"schema.changed"}
    changed = {target: ("another token", md5) for target, (_, md5) in ledger.items()}
    plan = decide(NAMES, ROWS, documents=documents, ledger=changed)
    assert (plan.read, plan.decided.stopped) == ([], "")
    assert len(said(plan, "document.modified_externally")) == 5
    # After a run that was cut off, another token may be ours or somebody else's: they are looked at.
    plan = decide(NAMES, ROWS, documents=documents, ledger=changed, ledger_complete=False)
    assert (len(plan.read), bool(plan.decided.stopped)) == (5, True)
    # What we deleted, and is there again, is not ours.
    deleted: dict[str, Any] = dict.fromkeys(documents, (None, None))
    assert decide(NAMES, ROWS, documents=documents, ledger=deleted).decided.stopped


@pytest.mark.parametrize("delete", ["never", "orphans"])
def test_a_document_that_would_be_deleted_counts_like_one_that_changes(delete: str) -> None:
    documents = {document("gone.json"): theirs("gone.png", reviewer="R")}
    policy = {"delete": delete, "max_delete": "100%"}
    plan = decide(NAMES, ROWS, documents=documents, policy=policy)
    assert bool(plan.decided.stopped) is (delete == "orphans")
    assert plan.read == (list(documents) if delete == "orphans" else [])
    plan = decide(NAMES, ROWS, documents={document("gone.json"): theirs("gone.png", n=1)}, policy=policy)
    assert plan.decided.stopped == ""


def test_a_stale_document_that_goes_is_read_too() -> None:
    documents = {document("v-3-mp4.json"): theirs("v-3-mp4.png", reviewer="R")}
    plan = decide(["v.mp4"], Table([("v.mp4", 3, 1)]), documents=documents, frames={"v.mp4": 10})
    assert "reviewer (1)" in plan.decided.stopped


def test_what_is_skipped_or_deferred_is_not_read() -> None:
    documents = others(reviewer="R")
    plan = decide(NAMES, ROWS, documents=documents, limit=2)
    assert plan.read == sorted(plan.read, key=lambda target: hashlib.md5(target.encode()).hexdigest())
    assert set(plan.read) == {document("0.json"), document("1.json")}


def test_a_sample_says_that_it_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(existing, "MOST_READ", 3)
    monkeypatch.setattr(existing, "_ROWS", 2)
    by_hash = sorted(others(), key=lambda target: hashlib.md5(target.encode()).hexdigest())
    plan = decide(NAMES, ROWS, documents=others(reviewer="R"))
    assert plan.read == by_hash[:3]
    assert plan.decided.stopped.endswith("reviewer (3); 3 of 5 were read")
    plan = decide(NAMES, ROWS, documents=others(n=2))
    [message] = said(plan, "document.existing")
    assert message.startswith("3 documents")
    assert message.endswith("; 3 of 5 were read")


def test_text_that_is_no_json_may_hold_anything() -> None:
    plan = decide(NAMES, ROWS, documents={document("0.json"): b'{"metadata": {"reviewer": "R",}}'})
    assert "(no JSON object) (1)" in plan.decided.stopped


def test_the_beginning_of_our_own_document_is_ours() -> None:
    """As a killed run leaves it where a file system cannot rename."""
    whole = json.dumps(decide(NAMES, ROWS).bodies[document("0.json")], separators=(",", ":")).encode()
    plan = decide(NAMES, ROWS, documents={document("0.json"): whole[:20]})
    assert (plan.decided.stopped, plan.actions[document("0.json")]) == ("", "update")


def test_a_document_too_large_to_be_read_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(existing, "LARGEST", 150)
    documents = others(n=2) | {document("0.json"): theirs("0.png", n="x" * 200)}
    plan = decide(NAMES, ROWS, documents=documents)
    assert document("0.json") not in plan.read
    assert len(plan.read) == 4
    assert "too large to be read" in plan.decided.stopped


def test_a_document_that_cannot_be_read_may_hold_anything() -> None:
    target = document("0.json")
    unreadable = {target: Denied("no right to read it", url="s3://b", path=target)}
    plan = decide(NAMES, ROWS, documents=others(n=2), unreadable=unreadable)
    assert "(cannot be read: no right to read it) (1)" in plan.decided.stopped


def test_a_limit_that_was_passed_is_named_before() -> None:
    bad = Table([*[(name, None, 1) for name in NAMES], ("../x", None, 1)])
    plan = decide(NAMES, bad, documents=others(reviewer="R"), policy={"max_rejects": 0})
    assert "max_rejects" in plan.decided.stopped
    assert len(said(plan, "document.unsourced")) == 5
