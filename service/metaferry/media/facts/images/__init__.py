"""Facts of images: pixel size, and what EXIF and XMP say of time, camera, exposure and place.

`reader` is what others import; `containers/` find size, Exif block and XMP packet, `ifds` takes a block
apart, `exif` and `xmp` say what it means, by the rules of `values`. Pure generators over `window`. They never
decode a pixel, never raise for what a file holds but `Unreadable`, and hold a few ranges of it at most.
"""
