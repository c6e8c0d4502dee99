"""Messages of robots, which MCAP files and ROS bags carry, as objects with keys.

Inside: `decoders` finds how the messages of a topic are read; `layouts` has the types of ROS, `wire` their
bytes, `protobuf` and `json_text` the other encodings; `limits` bounds what is kept, `clocks` chooses the
time, `topics` what is read, `sections` unpacks, `opened` makes rows. Containers of messages import them. They
know no file, and believe no length: a list of a thousand million items takes no memory.
"""
