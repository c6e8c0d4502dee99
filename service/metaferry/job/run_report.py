"""The part of a job that says what a sync leaves beside `run.json`."""

from __future__ import annotations

from pydantic import Field

from metaferry.job.parts import Model


class RunPage(Model):
    """What a sync leaves for people in the state folder, beside `run.json`."""

    html: bool = Field(
        default=False,
        description="Whether a sync leaves `report.html`, a page about what it wrote "
        "([report.md](report.md)).",
    )
