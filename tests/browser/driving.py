"""A table of documents of a driving dataset, as large as asked for, and its page."""

from __future__ import annotations

from pathlib import Path

from metaferry.findings import Code, Finding, Severity
from metaferry.lightly.schema import Entry, ValueType
from metaferry.planning.database import Database, open_database
from metaferry.view.report.build import build_page
from metaferry.view.report.facts import About, Panel, Thumbnail, group_findings

HOSTILE = '</script><img src=x onerror="hurt=1">\u202e'

COLUMNS = (
    (Entry("scene", "scene", "undefined", ValueType.CATEGORICAL_STRING), "scene"),
    (Entry("speed", "speed", 0.0, ValueType.NUMERIC_FLOAT), "speed"),
    (Entry("vehicles", "vehicles", 0, ValueType.NUMERIC_INT), "vehicles"),
    (Entry("lat", "gps.lat", 0.0, ValueType.NUMERIC_FLOAT), "lat"),
    (Entry("lon", "gps.lon", 0.0, ValueType.NUMERIC_FLOAT), "lon"),
    (Entry("braking", "braking", False, ValueType.CATEGORICAL_BOOLEAN), "braking"),
    (Entry("recorded", "recorded", "1970-01-01", ValueType.CATEGORICAL_DATETIME), "recorded"),
    (Entry("note", "note", "", ValueType.OTHER_STRING), "note"),
    (Entry(HOSTILE, "hostile", HOSTILE, ValueType.CATEGORICAL_STRING), "hostile"),
    (Entry("constant", "constant", 3, ValueType.NUMERIC_INT), "constant"),
)


def fill_driving(database: Database, documents: int) -> str:
    """Makes a table: six tenths are images, the others frames of videos. The same values on every run."""
    database.run(
        f"""
        CREATE TABLE driving AS
        WITH dice AS (
            SELECT i, i % 10 >= 6 AS frame,
                   {
            ", ".join(
                f"(hash(i * {p} + {n}) % 1000003) / 1000003.0 AS d{n}"
                for n, p in enumerate((7, 11, 13, 17, 19, 23, 29))
            )
        }
            FROM range({documents}) t(i)
        ), scenes AS (
            SELECT *, sqrt(-2 * ln(d5 + 1e-9)) * cos(6.28318 * d6) AS g,
                   CASE WHEN d4 < 0.05 THEN 'undefined' WHEN d0 < 0.5 THEN 'city street'
                        WHEN d0 < 0.8 THEN 'highway' ELSE 'residential' END AS scene
            FROM dice
        )
        SELECT CASE WHEN frame THEN 'v' || i // 2000 || '-' || i % 2000 || '-mp4' ELSE 'i' || i END || '.json'
                   AS target,
               CASE WHEN frame THEN 'frame' ELSE 'image' END AS kind,
               CASE WHEN frame THEN 'videos/v' || i // 2000 || '.mp4'
                    ELSE 'images/' || (i % 3)::VARCHAR || '/i' || i || '.png' END AS media,
               CASE WHEN frame THEN i % 2000 END AS frame,
               CASE WHEN d4 < 0.02 THEN 'missing' WHEN d4 < 0.05 THEN 'default' WHEN d4 < 0.052 THEN 'invalid'
                    ELSE 'document' END AS state,
               scene,
               CASE scene WHEN 'undefined' THEN 0.0 WHEN 'highway' THEN round(greatest(0, 104 + 14 * g), 1)
                   WHEN 'city street' THEN round(greatest(0, 34 + 11 * g), 1)
                   ELSE round(greatest(0, 22 + 7 * g), 1) END AS speed,
               CASE scene WHEN 'undefined' THEN 0 WHEN 'highway' THEN floor(9 + 8 * d1)::BIGINT
                   WHEN 'city street' THEN floor(12 + 9 * d1)::BIGINT
                   ELSE floor(6 * d1)::BIGINT END AS vehicles,
               CASE WHEN scene = 'undefined' THEN 0.0 ELSE 52.5 + 0.1 * g + 0.2 * d2 END AS lat,
               CASE WHEN scene = 'undefined' THEN 0.0 ELSE 13.4 + 0.6 * d3 END AS lon,
               d2 < 0.2 AS braking,
               strftime(TIMESTAMP '2026-05-01' + to_minutes((d1 * 40000)::INTEGER), '%Y-%m-%dT%H:%M:%SZ')
                   AS recorded,
               'note ' || i % 1234 AS note,
               CASE WHEN i % 2 = 0 THEN '{HOSTILE}' ELSE 'harmless' END AS hostile,
               3::BIGINT AS constant
        FROM scenes
        """
    )
    return "driving"


def driving_page(scratch: Path, documents: int, thumbnails: tuple[Thumbnail, ...] = ()) -> str:
    """The page of such a table, with findings and a panel."""
    finding = Finding(Code.VALUE_TYPE, Severity.WARNING, HOSTILE, "mend the row", target=HOSTILE)
    about = About(
        "s3://fleet/2026/",
        "2026-11-28T05:40:00+00:00",
        "made up",
        findings=group_findings({"value.type": 12}, [finding]),
        panels=(Panel("Drift", ("a sync would", "documents"), (("create", 12), (HOSTILE, 3))),),
        thumbnails=thumbnails,
    )
    with open_database(memory_limit="512MB", scratch=str(scratch)) as database:
        return build_page(database, fill_driving(database, documents), COLUMNS, about).html
