"""Readers of annotation files: one module a format.

Inside: `coco` and `lightly` are formats; `elements` reads the lists of a large JSON document in one pass, and
`text` has what several formats need of a JSON value. The registry imports them by name. They never read a
media file, and never build what is drawn (polygons, masks).
"""
