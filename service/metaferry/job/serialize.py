"""A job in the form that is kept beside a plan: `${VAR}` and `${file:…}` as written, without secrets.

`finish` on another machine needs the job of a plan, and no secret may be stored in a bucket for that. So a
kept job has variables where the job file has them, and below `storage:`, `options:`, `db_kwargs:` and
`properties:` only text that identifies the store or the protocol. A job with other text there, or with
credentials in a URL or in the URI of a database, is not kept: `finish` needs the job file then.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from metaferry.errors import JobError
from metaferry.job.model import Job
from metaferry.masking import HARMLESS
from metaferry.secret_files import FileText

#: Values of gcsfs's `token` that are not secret; nor is a path.
_TOKENS: Final = frozenset({"anon", "browser", "cache", "cloud", "google_default"})
#: Keys whose values are SQL.
_EXPRESSIONS: Final = (
    "where",
    "query",
    "file_name",
    "frame",
    "value",
    "from",
    "to",
    "until",
    "seconds",
    "at",
    "video",
    "column",
    "pattern",
)
#: Keys below which every text may be a credential.
_SECRET: Final = frozenset({"options", "db_kwargs", "properties"})
#: Parameters of URIs of databases that are no secrets.
_PARAMETERS: Final = frozenset(
    {
        "application_name",
        "connect_timeout",
        "sslmode",
        "sslrootcert",
        "ssl_ca",
        "ssl_disabled",
        "ssl_verify_cert",
        "ssl_verify_identity",
        "target_session_attrs",
    }
)
_ONLY_VARIABLES: Final = re.compile(r"(\$\{([A-Za-z_][A-Za-z0-9_]*|file:/[^}]+)\})+")


def keep_job(job: Job) -> tuple[dict[str, Any] | None, str]:
    """The mapping to keep, or None and the key (never a value) that prevents it."""
    mapping = _as_written(job)
    secret = _secret(mapping, ())
    return (None, secret) if secret else (mapping, "")


def restore_job(
    mapping: Mapping[str, Any], overrides: Sequence[str] = (), variables: Mapping[str, str] | None = None
) -> Job:
    """The job that was kept, with `variables`, and else the variables and files of this machine. JobError
    where one is missing."""
    return Job.from_mapping(mapping, base="/", overrides=overrides, variables=variables)


def _as_written(job: Job) -> dict[str, Any]:
    """The mapping that the job was read from, if it still gives this job; otherwise its values."""
    origin = job.origin
    if origin is not None:
        try:
            restored = restore_job(origin)
            # A secret in a file may have been replaced meanwhile: then they are equal as written.
            if restored == job or _values(restored) == _values(job):
                return dict(origin)
        except JobError:  # a variable was unset, or a file taken away
            pass
    return _values(job)


def _values(job: Job) -> dict[str, Any]:
    """The values of a job as a job file would have them, with files by their names."""
    values: dict[str, Any] = _escaped(job.model_dump(by_alias=True, exclude_unset=True))
    return values


def _escaped(value: Any) -> Any:
    if isinstance(value, FileText):
        return value.written
    if isinstance(value, dict):
        return {key: _escaped(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_escaped(item) for item in value]
    return value.replace("${", "$${") if isinstance(value, str) else value


def _secret(value: Any, path: tuple[str, ...]) -> str:
    """The first place that may hold a secret, as dotted keys; "" where there is none."""
    if isinstance(value, dict):
        return next(filter(None, (_secret(item, (*path, str(key))) for key, item in value.items())), "")
    if isinstance(value, list):
        return next(filter(None, (_secret(item, (*path, str(at))) for at, item in enumerate(value))), "")
    if isinstance(value, str):
        return ".".join(path) if _may_be_secret(value, path) else ""
    # An object of a program, such as a credential of the cloud's own library, cannot be written down.
    return "" if value is None or isinstance(value, bool | int | float) else ".".join(path)


def _may_be_secret(text: str, path: tuple[str, ...]) -> bool:
    from metaferry.urls import holds_secret

    if path[0] == "storage" or not _SECRET.isdisjoint(path[:-1]):
        known = path[-1] in HARMLESS and not holds_secret(text)
        known = known or (path[-1] == "token" and (text in _TOKENS or text.startswith("/")))
        return bool(text) and not known and _ONLY_VARIABLES.fullmatch(text) is None
    if "metadata" in path[:-1] or path[-1] in _EXPRESSIONS:
        return False  # an expression
    if path[-2:] == ("sql", "uri"):
        return _uri_may_be_secret(_ONLY_VARIABLES.sub("", text))
    plain = _ONLY_VARIABLES.sub("", text).rpartition("::")[2]
    if path[0] == "metrics":
        plain = re.sub(r"//[^/:?#@]*:?@", "//", plain)  # a name alone; its password was a variable
    return holds_secret(plain)


def _uri_may_be_secret(uri: str) -> bool:
    """Whether the URI of a database, without its variables, has more than a user, hosts and harmless
    parameters.

    What is no URI, such as `host=db password=…`, may have a password anywhere.
    """
    head, _, query = uri.partition("?")
    _, mark, rest = head.partition("://")
    if not mark:
        return bool(uri) and not uri.startswith(("sqlite:", "file:"))
    address = rest.partition("/")[0]
    user, at, _ = address.rpartition("@")
    if at and user.partition(":")[2]:
        return True
    named = {part.partition("=")[0] for part in query.split("&") if part.partition("=")[2]}
    return not named <= _PARAMETERS or "@" in rest.partition("/")[2]
