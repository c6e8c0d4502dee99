"""Types of the options of the stores' libraries, which do not check them themselves.

s3fs, gcsfs and adlfs accept any value for any option, and fail in the middle of a request with an
AttributeError or worse. The values may be secrets: messages have only keys and types. Pure functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from metaferry.errors import UsageError

#: An option of ours for S3, Google Cloud Storage and Azure.
FOLLOW_REDIRECTS: Final = "follow_redirects"

_MAPPINGS: Final = frozenset(
    {"client_kwargs", "config_kwargs", "s3_additional_kwargs", "session_kwargs", "gcs_additional_kwargs"}
)
#: Objects of a library, which only a program can pass.
_OBJECTS: Final = frozenset({"session", "fs", "loop", "get_client"})
#: Texts that YAML may read as a number or as a boolean.
_TEXTS: Final = frozenset(
    {
        "key",
        "secret",
        "token",
        "username",
        "password",
        "endpoint_url",
        "profile",
        "account_name",
        "account_key",
        "account_host",
        "connection_string",
        "sas_token",
        "client_id",
        "client_secret",
        "tenant_id",
        "project",
    }
)


def check_types(shown: str, options: Mapping[str, Any]) -> None:
    """Raises UsageError for an option of a wrong type. `shown` is the URL in messages."""
    for key, value in options.items():
        if value is None:
            continue
        if key in _MAPPINGS and not isinstance(value, Mapping):
            raise UsageError(
                f"{shown}: the option {key} should be a mapping",
                advice=f"write it as {key}: {{name: value}}, with the names that its library knows",
            )
        if key in _OBJECTS and isinstance(value, bool | int | float | str | list | Mapping):
            raise UsageError(
                f"{shown}: the option {key} is an object of the store's library, which a file cannot hold",
                advice="take it out; a program may give one by Job.with_storage",
            )
        if key == FOLLOW_REDIRECTS and not isinstance(value, bool):
            raise UsageError(f"{shown}: the option {key} should be true or false")
        if key in _TEXTS and isinstance(value, bool | int | float | list):
            raise UsageError(
                f"{shown}: the option {key} should be text", advice="put its value in quotes in the job file"
            )
