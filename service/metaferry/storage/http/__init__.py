"""Small requests over HTTP through libcurl, beside the fsspec libraries.

`client` and `transfers` make requests of many threads and loops in one thread; `adapter` uses them where they
do exactly what the fsspec library would, and `fallback` the library where they do not. The stores' packages
above make and read the requests (`requests` says in which shape). Nothing here retries or knows a store.
"""
