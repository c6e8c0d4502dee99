"""The one way a byte enters or leaves metaferry.

`protocol` states the contract, `factory` makes a storage of a URL. The object stores are `s3`, `gcs`
and `azure`; `local`, `memory` and `fsspec_adapter` serve the rest; `http` writes small objects quickly;
`retry`, `throttle` and `listing` wrap any of them. It knows nothing of jobs, plans or the format, and
never creates or deletes a bucket.
"""
