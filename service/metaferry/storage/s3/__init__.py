"""Amazon S3 and compatible stores, through s3fs and libcurl.

`adapter` implements the contract with the client of `client`; `answers` checks answers and `listing` parses
pages; `config` and `credentials` read s3fs's options for single requests, which `requests` builds and
`signature` signs. Imported by `storage.factory` only. It never retries, and never creates a bucket.
"""
