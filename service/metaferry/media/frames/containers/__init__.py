"""Frame counts from the index of a container: MP4 and MOV (`mp4`), AVI, Matroska.

Pure readers: they ask for ranges of bytes (`reading`) and prove a count from them, or say why they
cannot. `codecs` tells which codecs have one frame a sample. No I/O, no FFmpeg; imported by
`media.frames` only.
"""
