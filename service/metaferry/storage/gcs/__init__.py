"""Google Cloud Storage, through gcsfs and libcurl.

`adapter` implements the contract with the client of `client`; `requests` builds the requests of the JSON
API and parses its answers; `config` reads gcsfs's options for single requests. Imported by
`storage.factory` only. It never retries, and never creates a bucket.
"""
