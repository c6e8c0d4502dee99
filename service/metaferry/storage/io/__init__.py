"""Bridges between the storages' event loop and code that is not asynchronous.

`portal` runs coroutines on a loop in a thread of its own; `reader` is a seekable file over ranged
reads. Both know the contract only. They open no storage and decide nothing.
"""
