"""The one way a byte enters or leaves metaferry.

`protocol` states the contract, `factory` opens a storage by its URL. The object stores are `s3`, `gcs`
and `azure`, over `base`; `local`, `memory` and `fsspec_adapter` serve the rest; `http` makes single requests
with little overhead; `retry`, `throttle` and `listing` wrap any of them. Imported by every package above.
It knows nothing of jobs and plans, and never creates or deletes a bucket.
"""
