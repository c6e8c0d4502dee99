"""What the container of a video says of it: size, rotation, codec, rate, duration, time, place.

`read` continues where a frame count has read the index; `reader` has the facts by name, for sources. `mp4`,
`matroska` and `avi` read the headers, `model` has the value that they give. Pure; imported by `media.facts`
and by the frame counter. Nothing is decoded, and nothing is guessed that is not there.
"""
