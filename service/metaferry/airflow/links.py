"""The link from a task to the report of its run, in Airflow's user interface."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

from metaferry.airflow.versions import BaseOperatorLink, XCom

#: XComs of every task that made a run, also where it failed.
RUN_ID: Final = "run_id"
REPORT_URL: Final = "report_url"
#: The XCom with what a browser can open.
REPORT_LINK: Final = "report_link"

_CONSOLES: Final = {
    "s3": "https://console.aws.amazon.com/s3/object/{bucket}?prefix={key}",
    "gs": "https://storage.cloud.google.com/{bucket}/{key}",
}


class ReportLink(BaseOperatorLink):
    """Opens the report: its page (`report: true` in the job) where there is one, else run.json."""

    name = "Report"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """The URL, "" where the task has not come that far, or nothing is known that opens it."""
        return str(XCom.get_value(ti_key=ti_key, key=REPORT_LINK) or "")


def browser_url(url: str, *, pattern: str = "", own_endpoint: bool = False) -> str:
    """What opens an object in a browser; "" where that is not known.

    pattern: of a site of one's own, with `{bucket}` and `{key}`. own_endpoint: the store is not the cloud
    provider's, so that its console does not have the object.
    """
    scheme, _, rest = url.partition("://")
    if scheme in ("http", "https") and rest:
        return url
    bucket, _, key = rest.partition("/")
    chosen = pattern or ("" if own_endpoint else _CONSOLES.get(scheme, ""))
    return chosen.replace("{bucket}", quote(bucket)).replace("{key}", quote(key)) if bucket and key else ""
