"""Small requests over HTTP, from plain threads: the quick road beside the fsspec libraries.

`client` holds connections; `puts` and `storage` are adapters that use them where they do exactly what
the fsspec library would do, and `fallback` the library where they do not; `options` translates network
options. The stores' packages above word and sign the requests. Nothing here retries.
"""
