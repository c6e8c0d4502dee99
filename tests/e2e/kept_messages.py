"""What people read, kept in a file that is reviewed: one section a case, compared word by word.

After a change that is meant, write the file anew and look at the difference:

    METAFERRY_REWRITE=1 python -m pytest -n0 tests/e2e/test_real_tables.py
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from e2e.world import Ran

FOLDER = Path(__file__).parent
_SECTION = re.compile(r"^==== (\S+)\n", re.MULTILINE)
_RUN = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")


def message_of(ran: Ran, root: Path) -> str:
    """What a command says of the tables: all of stderr, or of the summary what follows its counts."""
    said = ran.err if ran.code == 2 else ran.out[ran.out.index("\nSchema ") :].partition("\n\n")[2]
    lines = [line for line in said.splitlines() if not line.startswith(("Requests: ", "Report: "))]
    text = "\n".join(lines).strip().replace(f"{root}/", "")
    return f"exit {ran.code}\n{_RUN.sub('RUN', text)}\n"


def read(file: str) -> dict[str, str]:
    parts = _SECTION.split((FOLDER / file).read_text(encoding="utf-8") if (FOLDER / file).exists() else "")
    return {name: text.strip() + "\n" for name, text in zip(parts[1::2], parts[2::2], strict=True)}


def check(file: str, ran: Ran, root: Path) -> None:
    """Compares with the section of the test that runs, or writes it."""
    case = os.environ["PYTEST_CURRENT_TEST"].rpartition("::")[2].rpartition(" ")[0]
    message = message_of(ran, root)
    kept = read(file)
    if os.environ.get("METAFERRY_REWRITE"):
        kept[case] = message
        text = "\n".join(f"==== {name}\n{kept[name]}" for name in kept)
        (FOLDER / file).write_text(text, encoding="utf-8")
        return
    assert message == kept.get(case), f"{case}: see kept_messages.py for how to write {file} anew"
