"""Amazon S3 and everything that speaks its protocol, through s3fs and over connections of our own.

`adapter` implements the contract on the client of `client`; `listing` reads pages; `config` and
`credentials` say what s3fs's options mean for single requests, which `requests` words and `signature`
signs. Imported by `storage.factory` only; it makes single attempts and never retries.
"""
