"""Azure Blob Storage, through adlfs and over connections of our own.

`adapter` implements the contract on the client of `client`; `requests` words and signs a put and reads
its answer; `config` says what adlfs's options mean for single requests. Imported by `storage.factory`
only; it makes single attempts and never retries.
"""
