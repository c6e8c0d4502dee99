"""The metrics of a run for monitoring systems.

`figures` lists them and takes their values from a report; `exposition` writes them for Prometheus and
OTLP; `push` sends them when a run has ended. Imported by `runs` and `cli/serve`. A push that fails never
changes the result of a run.
"""
