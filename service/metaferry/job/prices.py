"""The part of a job that says what requests cost. Looks nothing up."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

from metaferry.job.parts import Model, Number

_Price: TypeAlias = Annotated[float, Number, Field(ge=0, allow_inf_nan=False)] | None


class Prices(Model):
    """What requests cost, over the list prices of the package; for every store of the job but local files.

    A kind that is not given keeps its list price, where the store has one in the same currency.
    """

    put: _Price = Field(default=None, description="Price of `per` puts.")
    list: _Price = Field(default=None, description="Price of `per` pages of a listing.")
    get: _Price = Field(default=None, description="Price of `per` reads.")
    delete: _Price = Field(default=None, description="Price of `per` deletes.")
    tags: _Price = Field(default=None, description="Price of `per` requests about tags of objects.")
    currency: str = Field(default="USD", pattern=r"^[A-Z]{3}$", description="Three letters: USD, EUR, …")
    per: Annotated[int, Number] = Field(default=1_000, ge=1, description="Requests that a price is for.")
