"""The least rights that a job needs, as a policy of its cloud.

`accesses` says what a job does in which bucket, from the job alone; `aws`, `gcp` and `azure` write that down
as each cloud wants it; `policy` puts them together. All of it is pure. Imported by `api_view`, by `doctor`
and, for its words, by `cli`. It opens no storage and asks no cloud.
"""
