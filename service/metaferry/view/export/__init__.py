"""The tree as a table: what each media and frame shows, or what each document says.

`values` puts a tree into one table of the planning engine, `shapes` finds column types for documents of any
form, `files` writes the table as Parquet, CSV or JSON lines, `job_file` has the job that reads it back.
Imported by `api` and by the other packages of `view`, which read the table; never writes to a datasource.
"""
