"""The sandboxed process that reads packets and decodes with FFmpeg.

`process` is the run's side (starts, feeds, kills at the deadline), `main` the worker's, `protocol` the
messages between them; `scan`, `packets`, `headers` and `decode` run in the worker only. Imported by
`media.frames` only. The worker opens no file and no network connection.
"""
