"""CVAT XML 1.1, for images and for video.

Inside: `reader` is what the registry imports, `document` reads a file from its first tag to its last,
`tracks` fills frames between keyframes, `rows` makes rows of shapes, `meta` has what the head of a file says
of the whole. It never holds a document, and expands no entity.
"""
