"""MCAP files, by their index where they have one, else from start to end.

Inside: `reader` is what the registry imports, `container` finds chunks and channels, `stream` reads records
and unpacks chunks as they come, in bounded memory. Only chunks with a topic that is wanted are read. No
length that a file names is believed before the bytes are there.
"""
