"""The flags that commands share, and their help texts."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"


class LogFormat(StrEnum):
    TEXT = "text"
    JSON = "json"


JobFile = Annotated[Path, typer.Argument(metavar="JOB", help="The job file.", show_default=False)]
#: What a command looks at: a job's datasource, or one by itself (`view/tree/target.py` tells which).
Target = Annotated[
    str,
    typer.Argument(
        metavar="JOB|URL",
        help="A job file (.yaml, .yml, .json), or the URL of a datasource.",
        show_default=False,
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, and errors only in the log.")]
Verbose = Annotated[
    int,
    typer.Option("--verbose", "-v", count=True, help="Log what is done; -vv: everything, with tracebacks."),
]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Overrides a key of the job file, as YAML: policy.max_rejects=5. Repeatable.",
        show_default=False,
    ),
]
OutputFormat = Annotated[
    Format, typer.Option("--format", help="Results on stdout: for people, or one JSON object.")
]
Logs = Annotated[LogFormat, typer.Option("--log-format", help="Log and progress on stderr.")]
Prefix = Annotated[
    str, typer.Option(metavar="PREFIX", help="Only media whose path starts with this.", show_default=False)
]
Limit = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="Change at most N documents.", show_default=False),
]
