"""What a store knows of an object besides its bytes: type, storage class, user metadata, tags.

`model` has the values and what an adapter that knows them offers, `texts` reads them out of headers and
answers. Imported by the adapters and by `protocol`. It makes no request, and keeps nothing where no job asked
for it.
"""
