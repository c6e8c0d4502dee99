"""The rules of `metaferry.lightly` as SQL text, for more rows than Python could look at.

`rules` has names and documents, `casts` values under a schema entry, `canonical_json` the JSON text of
a value, `text` literals. Pure functions that return SQL; property tests hold each equal to `lightly`.
"""
