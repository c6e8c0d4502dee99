"""The containers of images: where each says its pixel size, and where it has its Exif block and XMP packet.

`sniff` knows them by their first bytes; each other module walks one of them, or a few small ones. Imported by
`images/reader.py`. What a block says is not looked at here.
"""
