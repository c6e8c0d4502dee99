"""What a check found: counts for people and programs, and a row for each finding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from metaferry.findings import Code
from metaferry.planning.database import Database

TABLE: Final = "check_findings"
COLUMNS: Final = {
    "code": "VARCHAR",
    "severity": "VARCHAR",
    "target": "VARCHAR",
    "kind": "VARCHAR",
    "media": "VARCHAR",
    "line": "INTEGER",
    "column": "INTEGER",
    "message": "VARCHAR",
    "advice": "VARCHAR",
}
#: SQL of the columns, and of the order in which findings are shown and written.
SELECTED: Final = ", ".join(f'"{name}"' for name in COLUMNS)
ORDER: Final = 'code, target, media, "line", "column", message'
#: Findings of a code that are in the report; all of them are in the table.
NAMED: Final = 10

#: Findings that say that a document or schema.json cannot be used as it is.
INVALID: Final = (Code.DOCUMENT_INVALID, Code.DOCUMENT_MISNAMED, Code.SCHEMA_INVALID)


@dataclass(frozen=True, slots=True)
class CheckFinding:
    """One thing that was found. Line and column count from 1; 0 where there is none."""

    code: str
    severity: str
    target: str
    kind: str
    media: str
    line: int
    column: int
    message: str
    advice: str


@dataclass(slots=True)
class Coverage:
    """Images, or videos, of the datasource by what their documents show; frames count with their video.

    `unknown`: their document was not read, so it may show values or defaults.
    """

    values: int = 0
    default: int = 0
    missing: int = 0
    unknown: int = 0
    invalid: int = 0

    @property
    def media(self) -> int:
        return self.values + self.default + self.missing + self.unknown + self.invalid


@dataclass(slots=True)
class Documents:
    """Documents in place. `proved` were not read, since they are known to be right; `read` were;

    all others are `unread`. `sampled` of those read were chosen by the hash of their keys, and
    `sampled_invalid` of these are invalid.
    """

    total: int = 0
    proved: int = 0
    read: int = 0
    unread: int = 0
    invalid: int = 0
    misnamed: int = 0
    orphans: int = 0
    sampled: int = 0
    sampled_invalid: int = 0


@dataclass(slots=True)
class Drift:
    """What a sync of the job would change. `stopped`: why it would not run, "" where it would."""

    create: int = 0
    update: int = 0
    delete: int = 0
    schema: bool = False
    rejected: int = 0
    stopped: str = ""

    @property
    def any(self) -> bool:
        return bool(self.create or self.update or self.delete or self.schema)


@dataclass(slots=True)
class CheckReport:
    """The result of a check. `drift` is None for a URL: nothing says what should be there.

    `findings` counts them by code, and `examples` has the first of each. `sample` says in words what the
    documents that were read say about the others, "" where all were read.
    """

    url: str
    entries: int = 0
    coverage: dict[str, Coverage] = field(default_factory=dict)
    documents: Documents = field(default_factory=Documents)
    drift: Drift | None = None
    sample: str = ""
    findings: dict[str, int] = field(default_factory=dict)
    examples: list[CheckFinding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    requests: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    out: str = ""

    @property
    def invalid(self) -> int:
        return sum(self.findings.get(code, 0) for code in INVALID)

    @property
    def exit_code(self) -> int:
        """4 where something is invalid, or a sync would change something; what is missing is 0."""
        return 4 if self.invalid or (self.drift is not None and self.drift.any) else 0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"exit_code": self.exit_code}


def findings(database: Database) -> Iterator[CheckFinding]:
    """Every finding, in a fixed order: by code, then by key."""
    database.run(
        f"CREATE OR REPLACE TABLE ordered_findings AS SELECT row_number() OVER (ORDER BY {ORDER}) AS n, * "
        f"FROM {TABLE}"
    )
    for row in database.numbered(SELECTED, "ordered_findings", size=10_000):
        yield CheckFinding(*row)


def summarise(database: Database, report: CheckReport) -> None:
    """Counts the findings, and takes the first of each code into the report."""
    report.findings = dict(database.rows(f"SELECT code, count(*) FROM {TABLE} GROUP BY code ORDER BY code"))
    rows = database.rows(
        f"SELECT {SELECTED} FROM {TABLE} QUALIFY row_number() OVER (PARTITION BY code ORDER BY {ORDER}) "
        f"<= {NAMED} ORDER BY {ORDER}"
    )
    report.examples = [CheckFinding(*row) for row in rows]
