"""The one retry layer.

`storage` is the `Storage` that everybody else uses, over an adapter of single attempts; `attempts`
decides how often, when and how long a request is tried. Lost answers are settled here by reading back.
No other module retries a request.
"""
