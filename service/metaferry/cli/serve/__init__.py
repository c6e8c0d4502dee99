"""`metaferry serve`: runs on a schedule, each in a process of its own, with health and metrics over HTTP.

`command` puts it together, `loop` and `schedule` decide when a run starts, `child` starts the processes
(`worker` is a run, `recall` reads earlier reports), `status` and `web` answer /healthz and /metrics.
Imported by `cli` only. The process of the loop opens no storage.
"""
