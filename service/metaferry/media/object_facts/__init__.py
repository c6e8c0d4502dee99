"""What stores say of the media besides their bytes, over many of them.

`listed` has what a listing gave as columns, `ask` asks for the rest, one request an object, and keeps the
answers between runs. Imported by `planning` and `runs`, for jobs with a source `object:` alone.
"""
