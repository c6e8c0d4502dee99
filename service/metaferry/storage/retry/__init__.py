"""The one retry layer.

`storage` is the `Storage` that the rest of the program uses, over an adapter of single attempts; `attempts`
decides how often, when and how long a request is tried. Imported by `factory`, and for `Renewable` by
`testing`. No other module retries a request, and it never writes what it was not asked to write.
"""
