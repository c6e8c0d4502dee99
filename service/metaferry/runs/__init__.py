"""One run from start to end: gather, decide, apply, report.

`run` has `plan` and `sync`, in the steps `gather`, `decide` and `apply` over a `context`; `sharded` applies
a kept plan in parts; `lease` keeps other writers out; `state` is kept between runs; `metrics` and `report`
are its results. The only package that combines storages, tables, planning and engines; it prints nothing.
"""
