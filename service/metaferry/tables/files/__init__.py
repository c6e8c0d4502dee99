"""Files of tables: which they are, and their bytes.

Inside: `find` (a URL or a glob to objects), `blocks` (their content as a stream), `proof` (whether the
bytes that came are those that the store has). The readers of formats import it. It never knows what a
row is, and reads nothing but through the storage contract.
"""
