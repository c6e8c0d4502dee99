"""MCAP files, by their index where they have one, else from start to end.

Inside: `reader` is what the registry imports, and the one of ROS bags, which may be such files; `container`
finds chunks and channels, `stream` reads records. Only chunks with a topic that is wanted are read. They
never hold a chunk, and believe no length before the bytes are there.
"""
