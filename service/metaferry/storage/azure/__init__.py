"""Azure Blob Storage, through adlfs and libcurl.

`adapter` implements the contract with the client of `client`; `answers` checks answers, `token_failure`
classifies missing access tokens; `requests` builds and signs a put and parses its answer; `config` reads
adlfs's options for single requests. Imported by `storage.factory` only. It never retries, and never
creates a container.
"""
