"""What is kept between runs, in the state folder. All of it can be lost without harm.

`folder` finds and keeps runs, `ledger` knows token and MD5 of every document we wrote, `markers` which
shards are done, `listing_checkpoint` the pages of a listing under way, `capability_probe` whether a
store honours conditions. Only `runs` imports it.
"""
