"""Delta and Iceberg tables: `delta:` and `iceberg:` in a job, one version of each, named in the report.

`delta` and `iceberg` open a table and stream its rows as Arrow; `options` translates fsspec's options for
the libraries that read them. Imported by the registry of readers; the libraries are the extra `lake`,
imported when a job asks for them. Nothing here writes to a table.
"""
