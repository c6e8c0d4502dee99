"""The figures of a run for monitoring systems.

`figures` says which there are and takes them out of a report; `exposition` writes them for Prometheus
and OTLP; `push` sends them when a run has ended. A push that fails never changes the result of a run.
"""
