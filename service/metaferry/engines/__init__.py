"""Who writes the shards of a plan: processes of this machine, or the workers of a Dask cluster.

`choose` opens an engine by name; `pool` (with `channel` and `worker`) and `dask_cluster` are the
executors; `shards` runs tasks on any of them; `writers` writes a plan of this process by a pool;
`cancellation` reaches the tasks of a run. Only `runs` imports it. It decides nothing about documents.
"""
