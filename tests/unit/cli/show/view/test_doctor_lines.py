"""How the checks of `doctor` are shown: aligned, symbol and word, remedies below, what to do next."""

from __future__ import annotations

from metaferry.cli.show.view.doctor import doctor_lines
from metaferry.view.doctor.model import Check, Doctor, Status


def shown(*checks: Check, read_only: bool = False) -> list[str]:
    return [str(line) for line in doctor_lines(Doctor("job.yaml", read_only, list(checks)))]


def test_a_line_a_check_with_its_remedy_below() -> None:
    assert shown(
        Check("versions", Status.OK, "metaferry 1"),
        Check("list media", Status.FAIL, "access denied", "grant s3:ListBucket", "s3://fleet"),
        Check("MD5 in listings", Status.WARN, "none", "keep the state folder", "s3://fleet"),
        Check("clock", Status.SKIPPED, "--read-only", place="s3://fleet"),
    ) == [
        "  ✓ ok    versions         metaferry 1",
        "s3://fleet",
        "  ✗ FAIL  list media       access denied",
        "                           → grant s3:ListBucket",
        "  ! warn  MD5 in listings  none",
        "                           → keep the state folder",
        "  - skip  clock            --read-only",
        "",
        "1 ok, 1 warning, 1 failed, 1 skipped; mend what failed, then run it again: "
        "metaferry doctor job.yaml",
    ]


def test_what_to_do_next() -> None:
    fine = Check("versions", Status.OK, "x")
    assert shown(fine)[-1].endswith("next: metaferry plan job.yaml")
    assert "without --read-only" in shown(fine, read_only=True)[-1]


def test_names_from_the_store_cannot_move_the_cursor() -> None:
    (line, *_) = shown(Check("read media", Status.OK, "yes: \x1b[2Ja.png"))
    assert "\x1b" not in line
