"""What a tree allows of a selection: a selection config (v4), judged by the metadata alone.

`config` reads it, `facts` counts over the typed table of the tree, `judge` decides, `preview` puts them
together. Imported by the command and the library call `select`, and by whatever shows its result. It never
forecasts what a selection picks, and writes nothing.
"""
