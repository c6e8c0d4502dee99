"""How many requests may be under way, and how many a second.

`limiter` is shared by all requests to one datasource; `concurrency` finds the best concurrency limit.
Imported by the retry layer, and for `urgent` by `runs`. It never drops a request, never makes one, and
knows nothing of their content.
"""
