"""The key `sql`: a query to a database, and how the database is reached."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Self

from pydantic import (
    BeforeValidator,
    Field,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)

from metaferry.job.parts import Model
from metaferry.job.readers.annotations import Address
from metaferry.masking import remember, remember_url, showable
from metaferry.secret_files import FileText


def _text(value: Any) -> Any:
    """A value of a driver's options as text: drivers know nothing else."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


def _kept(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    """The text as it was checked, which knows the files that it came from: a reader reads them again."""
    checked = check(value)
    return value if isinstance(value, FileText) and value == checked else checked


#: A text that may come from a file: `${file:/run/secrets/uri}`.
Secret = Annotated[str, WrapValidator(_kept)]
DriverOption = Annotated[Secret, BeforeValidator(_text, json_schema_input_type=str)]

_WITHOUT_HOST: Final = re.compile(r"(?:sqlite|file):", re.IGNORECASE)


class Sql(Model):
    """One query to a database, in the SQL of that database."""

    uri: Secret = Field(
        default="",
        repr=False,  # may hold a password: never printed
        description="postgresql://…, sqlite:///file.db, mysql://…, or what an ADBC driver takes. With a "
        'password in it, out of a variable: "${PG}".',
    )
    query: str = Field(
        min_length=1, description="One SELECT in the SQL of that database; its columns are the table's."
    )
    driver: str | None = Field(
        default=None,
        min_length=1,
        description="An ADBC driver that is installed, where the URI does not tell it: a Python package "
        "(adbc_driver_snowflake), a library, or the name of a manifest.",
    )
    db_kwargs: dict[str, DriverOption] = Field(
        default_factory=dict,
        repr=False,  # may hold credentials: never printed
        description="Options of the driver, such as {adbc.snowflake.sql.account: …}; of MySQL, arguments of "
        "the connection.",
    )

    @field_validator("query")
    @classmethod
    def _some_query(cls, query: str) -> str:
        if not query.strip().strip(";").strip():
            raise ValueError("should be a SELECT, and is empty")
        return query

    @model_validator(mode="after")
    def _some_database(self) -> Self:
        if not self.uri and not (self.driver and self.db_kwargs):
            raise ValueError("should have a `uri`, or a `driver` with its `db_kwargs`")
        return self

    def model_post_init(self, context: Any) -> None:
        """Registers its secrets, so that no log record shows them."""
        remember_url(self.uri)
        remember(self.db_kwargs)

    @property
    def shown(self) -> str:
        """The database for people: without user name, password and parameters."""
        if not self.uri:
            return str(self.driver)
        if "://" in self.uri or _WITHOUT_HOST.match(self.uri):
            return showable(self.uri).partition("?")[0]
        return self.driver or "a database"

    def for_digest(self, address: Address) -> Mapping[str, Any]:
        """What decides its rows: the database, without credentials, and the query."""
        return {"uri": self.shown, "query": self.query, "driver": self.driver or ""}
