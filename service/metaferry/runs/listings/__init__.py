"""The listing of media and documents, and how old it is.

`lister` chooses between listing, inventory and checkpoint; `revalidate` reads size and token of videos as
they are now; `tokens` those of documents; `age`, `links` and `no_media` are checks of the result. Imported
by `runs` only. It decides nothing about documents.
"""
