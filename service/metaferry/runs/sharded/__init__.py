"""A kept plan, applied whole or in parts, here or on other machines.

`plan_files` writes and reads the plan, `run` applies a share of its shards, `task` is one shard on a
worker, `plan_run` what both have open, `finish` ends it: deletes, schema.json, report; `engine_run` is a
sync by an engine. Imported by `runs/run.py` and `api`. It never makes a plan.
"""
