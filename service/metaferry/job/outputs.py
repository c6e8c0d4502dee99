"""The parts of a job that say what a sync gives beside documents: metrics, and a page. They send nothing."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import Field, field_validator

from metaferry.job.parts import Model, Number, with_a_host
from metaferry.masking import showable


class Metrics(Model):
    """The targets that metrics are sent to at the end of a sync. An unreachable target fails no run."""

    job: str | None = Field(
        default=None,
        min_length=1,
        description="The label `metaferry_job` of every metric; default: the Lightly datasource's URL.",
    )
    gateway: str | None = Field(
        default=None,
        description="URL of a Prometheus Pushgateway; `user:password@` is sent as basic authentication.",
    )
    otlp: str | None = Field(
        default=None,
        description="URL of an OpenTelemetry collector that takes OTLP over HTTP; without a path, "
        "`/v1/metrics` is added. Needs the extra `otlp`.",
    )
    timeout: Annotated[float, Number] = Field(
        default=5.0,
        gt=0,
        le=60,
        allow_inf_nan=False,
        description="Seconds that both together get at the end of a run.",
    )

    @field_validator("gateway", "otlp")
    @classmethod
    def _http(cls, url: str | None) -> str | None:
        if url is not None and not re.match(r"https?://([^/?#@]*@)?[^/?#@]", url):
            raise ValueError("should be an http:// or https:// URL")  # never shown: it may hold a password
        return None if url is None else with_a_host(url)

    @field_validator("gateway")
    @classmethod
    def _no_query(cls, url: str | None) -> str | None:
        if url is not None and re.search(r"[?#]", url):
            raise ValueError("should be a URL without a query: the gateway's paths are put behind it")
        return url

    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        shown = {name: showable(url) for name, url in self.targets.items()}
        return [("job", self.job), *shown.items(), ("timeout", self.timeout)]

    @property
    def targets(self) -> dict[str, str]:
        """`gateway` and `otlp` if given, including credentials in them."""
        given = {"gateway": self.gateway, "otlp": self.otlp}
        return {name: url for name, url in given.items() if url is not None}


class RunPage(Model):
    """What a sync leaves for people in the state folder, beside `run.json`."""

    html: bool = Field(
        default=False,
        description="Whether a sync leaves `report.html`, a page about what it wrote "
        "([report.md](report.md)).",
    )
