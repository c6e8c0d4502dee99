"""What images and videos tell of themselves in their headers: size, time, camera, place.

`model` has the shape of a fact; `images/` and `videos/` read them from ranges of one file, as generators that
ask for bytes; `gather` makes those reads, `cache` keeps what they gave. Imported by `tables/readers/media/`.
Nothing is decoded here, nothing guessed: what a file does not tell is left out.
"""
