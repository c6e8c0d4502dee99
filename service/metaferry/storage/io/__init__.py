"""Use of a storage from synchronous code, and for many objects in parallel.

`portal` runs coroutines on an event loop in a thread; `reader` is a seekable file over ranged reads;
`concurrent` runs requests in parallel up to a limit. Imported by every package that uses a storage. It
depends on the contract only, and never opens a storage or retries.
"""
