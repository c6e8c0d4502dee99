"""One run from start to end: gather, decide, apply, report.

`run` is a whole run, `gather` and `apply` its halves; `sharded` applies a kept plan in parts; `lease`
keeps other writers out; `state` is what is kept between runs; `metrics` and `report` say what came of
it. The only package that puts storages, tables, planning and engines together; it prints nothing.
"""
