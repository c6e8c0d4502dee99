"""Tools for tests of code that uses a storage: an adapter with injected faults.

`faulty` wraps any adapter and fails as a list of rules says, the same way for the same seed. Nothing in
metaferry itself imports it.
"""
