"""One writer a datasource.

`lease` takes, renews and gives back `lease.json`; `look` reads the one in place; `record` is its content
and whether its holder still runs; `held` is the lease as a run and `unlock` use it; `shared` is held by
all who apply parts of one plan. Only `runs` imports it. It never writes or deletes a document.
"""
