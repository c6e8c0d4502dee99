"""Google Cloud Storage, through gcsfs and over connections of our own.

`adapter` implements the contract on the client of `client`; `requests` words the JSON API's requests
and reads its answers; `config` says what gcsfs's options mean for single requests. Imported by
`storage.factory` only; it makes single attempts and never retries.
"""
