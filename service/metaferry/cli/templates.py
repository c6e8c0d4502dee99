"""The job files that `init` and `demo` write: commented and valid as they are."""

from __future__ import annotations

from typing import Final

INIT: Final = """\
# What metaferry does here. Run `metaferry doctor job.yaml` first: it checks rights, stores and tables.
# `metaferry plan job.yaml` shows what would change, `metaferry sync job.yaml` does it. Relative paths are
# relative to this file; ${NAME} is taken from the environment.

# Where the media are: a folder, or s3://bucket/prefix, gs://…, az://…, any fsspec URL.
input: data

# Where .lightly/metadata is kept, if that is not beside the media.
# lightly: s3://my-lightly-bucket/prefix

# Options of the storage libraries (fsspec) by URL scheme. Without any, each cloud's own chain of
# credentials is used: environment variables, profiles, the identity of the machine.
# storage:
#   s3: {endpoint_url: "${S3_ENDPOINT}", anon: false}

# Which files are media. Without `include`: every png, jpg, mp4 … below `input`.
# media:
#   include: ["**/*.mp4", "**/*.png"]
#   exclude: ["tmp/**"]

# The tables: csv, tsv, parquet, arrow, jsonl, json, also .gz, .zst and .zip; globs; any fsspec URL. Later
# tables win.
sources:
  - table: labels.csv
    # How a CSV file is written, where that is not found out. `metaferry plan` shows how each was read.
    # encoding: cp1252                       # default: UTF-8, or what a byte order mark says
    # delimiter: ";"                         # default: what is consistent over the rows
    # decimal: ","                           # 1.234,5 is a number
    # thousands: "."
    # skip: {before: 3, after: 1}            # lines before the header; and after it: a row of units
    # comment: "#"                           # lines that begin with it are no rows
    # trim: true                             # blanks around cells are taken off
    # header: false                          # the first line is a row; the columns are named here:
    # columns: [file_name, frame, speed]
    # nulls: [NA, "-"]                       # cells that are no value; [] for none but empty ones
    # Where the list of records is in a JSON file that holds several.
    # records: $.annotations
    # The media's path below `input`: a column, or any SQL expression over the columns (DuckDB's).
    file_name: file_name
    # match: basename    # where the table has base names alone, or stem: without extensions
    # Only some of the rows: an SQL condition. The others are as if they were not there.
    # where: quality > 0.5
    # For tables that speak of single frames of videos: the frame's index.
    # frame: frame_idx                       # counts from 0
    # frame: {value: frame_idx, base: 1}     # counts from 1
    # frame: {from: start, to: stop}         # a range, both included; `until: stop`: the end is not
    # frame: {seconds: t}                    # the frame shown then; also {seconds: {from: a, to: b}}
    # Keys of the document: SQL expressions. Dots nest. Without `metadata`, all other columns are taken.
    # metadata:
    #   scene: scene
    #   weather.temperature: (temp_f - 32) * 5 / 9

# Where a row is no record (one row an object, a segment, a scene), a source is a query over named tables:
# tables:
#   boxes: boxes.csv
# sources:
#   - name: objects
#     query: |
#       SELECT image AS file_name, count(*) AS objects, list(DISTINCT label) AS labels
#       FROM boxes GROUP BY image
# What is no table has a key of its own, in `sources` and in `tables` alike (docs/sources):
#   - annotations: coco.json
#   - sql: {uri: "${PG}", query: "SELECT name AS file_name, speed FROM labels"}
#   - delta: s3://warehouse/labels          # or iceberg: …
#   - telemetry: drives/*.gpx               # GPX, NMEA, MCAP, ROS bags; joined to frames by time
#     video: replace(_path, '.gpx', '.mp4')
#     start: {from: container, means: start, zone: UTC}   # or file_name, column, first_sample …
#     metadata: {speed: {linear: speed_mps * 3.6}, heading: {angular: heading}}

# schema.json: `infer` keeps its entries and adds what is new. A list of entries, or a file's path, adds
# and changes entries; {entries: […], exact: true} removes all others.
schema: infer

policy:
  max_rejects: 0       # rows that may be rejected before a run stops: a number, or a share such as 1%
  rejects_fail: true   # false: such rows are a warning, and the exit code is 0 instead of 3
  unmatched: report    # rows that name no media: report, or reject
  delete: never        # documents whose media or rows are gone: never, or orphans
  max_delete: 10%      # at most so many orphans are deleted: a number, or a share of the documents
  existing: stop       # documents that others wrote, with keys of their own: stop, or replace
  allow_empty: false   # without media, or with a table of which no row is used: stop, or go on

# Old versions of what a run overwrites or deletes are kept for so long, so that `metaferry rollback` can
# bring them back.
# backup: {keep: 30d}
"""

READER: Final = """\
# {title}: a record of each image, video or frame, with what is counted in it. docs/sources has a page on it;
# `metaferry tables job.yaml` shows what is there. Later sources win.
sources:
  - annotations: {url}
    # reader: {reader}      # how it is read; found by what it holds
    # match: basename    # where it has base names alone, or paths below another root
"""

QUERY: Final = """\
# Instead: which keys a document has, by a query over its relations.
# tables:
#   annotations: {{annotations: {url}}}
# sources:
#   - query: |
"""

DEMO: Final = """\
# The demonstration's job. Try changing a table or this file, and run
#   metaferry plan {name}
#   metaferry sync {name}

# Media and documents are in one place here: data/ and data/.lightly/metadata/.
input: data

sources:
  # One row an image. Keys are chosen, renamed, nested and computed here.
  - table: tables/images.csv
    name: images
    file_name: image_path
    metadata:
      scene: scene
      weather.description: weather
      weather.temperature: round((temp_f - 32) * 5 / 9, 1)
      timeofday: timeofday
      pedestrians: pedestrians

  # One row a video: what holds for all of its frames. All columns are taken as they are.
  - table: tables/videos.jsonl
    name: videos
    file_name: video

  # One row a frame. Frames count from 0; the digits of a document's name come from the video's length.
  - table: tables/frames.parquet
    name: frames
    file_name: video
    frame: frame_idx

schema: infer
"""
