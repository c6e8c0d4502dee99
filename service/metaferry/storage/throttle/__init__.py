"""How many requests may be under way, and how many a second.

`limiter` is shared by all requests to one datasource; `concurrency` finds the limit that is worth
having. Used by the retry layer only. It never drops a request and knows nothing of their content.
"""
