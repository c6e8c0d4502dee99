"""Frame counts from the index of a container: MP4 and MOV (`mp4`), AVI, Matroska.

Pure readers: they request ranges of bytes (`reading`) and prove a count from them, or give the reason
why not. `codecs` has the codecs with one frame a sample. No I/O, no FFmpeg; imported by
`media.frames` only.
"""
