"""Who applies the shards of a plan: processes of this machine, or the workers of a Dask cluster.

`choose` opens an engine by name, `local` and `dask_cluster` are the executors, `shards` runs tasks on
any of them, `cancellation` reaches the tasks of a run. It knows shards and tasks, not documents.
"""
