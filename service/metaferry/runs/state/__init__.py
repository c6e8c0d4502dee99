"""What is kept between runs, in the state folder. All of it can be lost without harm.

`folder` has the files of runs and `retention` which of them go; `ledger` has token and MD5 of every document
we wrote, `damage` those that read back wrong, `markers` which shards are done, `listing_checkpoint` the pages
of a listing under way, `capability_probe` what stores honour. Imported by `runs` and `cli`.
"""
