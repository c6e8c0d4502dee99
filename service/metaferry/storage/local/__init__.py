"""A datasource in a local folder.

`adapter` implements the contract; `walk` lists, `atomic` and `locks` have the steps of an atomic write,
`links` checks symbolic links, `disk_names` decodes the names of files. Imported by `storage.factory`; by
other packages only for `disk_names` and for what only local folders have. It never writes through a
symbolic link out of the datasource, unless an option names its target.
"""
