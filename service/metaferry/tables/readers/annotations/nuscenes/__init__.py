"""Tables as nuScenes has them: a folder of JSON files whose rows name each other by tokens.

Inside: `reader` is what the registry imports, `links` holds the small tables by token, `rows` makes rows of
the large ones. Images of cameras alone are read; the large tables pass, and are never held.
"""
