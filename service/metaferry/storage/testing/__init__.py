"""Tools for tests of code that uses a storage: an adapter with injected faults.

`rules` says which calls fail and how; `faulty` wraps any adapter and applies the rules, reproducibly for
one seed. Imported by tests, and by programs that embed metaferry; nothing in metaferry itself imports it.
It never opens a storage.
"""
