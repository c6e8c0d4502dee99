"""Where a character of a text value stands in the job file, for faults in queries. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TextPlace:
    """A text value and what the file holds for it: quoted, plain, or a block over several lines.

    `line` and `column` (from 1) are where `raw` begins; `exact` is false where variables or flags made the
    value another text than the file has.
    """

    file: str
    line: int
    column: int
    raw: str
    value: str
    exact: bool = True

    def of(self, at: int) -> str:
        """`file:line:column` of the character `at` of the value; without a column where it is not known."""
        if not self.exact:
            return f"{self.file}:{self.line}"
        found = self._in_raw(min(at, len(self.value)))
        if found is None:
            return f"{self.file}:{self.line}"
        before = self.raw[:found]
        lines = before.count("\n")
        column = found - before.rfind("\n") if lines else self.column + found
        return f"{self.file}:{self.line + lines}:{column}"

    def _in_raw(self, at: int) -> int | None:
        """The position in `raw` of a character of the value; None where an escape hides it.

        The two differ by what YAML takes away: the header and the indentation of a block, quotes, folds.
        """
        position = 0
        if self.raw[:1] in ("|", ">"):
            position = self.raw.find("\n") + 1
        elif self.raw[:1] in ("'", '"'):
            position = 1
        for number, wanted in enumerate(self.value):
            while position < len(self.raw) and self.raw[position] != wanted:
                here = self.raw[position]
                folded = wanted in " \n" and here in " \n"
                if folded or (here == "'" and self.raw[:1] == "'"):
                    if folded and wanted == " ":
                        break
                    position += 1
                elif here in " \t\n":
                    position += 1
                else:
                    return None
            if number == at:
                return position
            position += 1
        return position
