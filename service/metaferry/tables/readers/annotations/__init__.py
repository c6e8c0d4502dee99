"""Readers of annotation files: one module a format, or one package.

Inside: `coco`, `lightly`, `cvat`, `label_studio`, `labelbox`, `nuscenes` and `scalabel` are formats.
`elements` reads the lists of a large JSON document in one pass, `documents` makes objects of them, `text` and
`values` have what formats need of a JSON value; `xml_stream` reads XML; `opened` puts rows into batches,
`counted` makes a short form's query. The registry imports formats by name. They never read media, and give
nothing of what is drawn but boxes.
"""
