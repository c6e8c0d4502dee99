"""Where the media and documents of a run are listed from, and how old that is.

`lister` chooses between listing, inventory and checkpoint; `revalidate` looks at videos as they are
now; `age` words what a listing that is not fresh means. It decides nothing about documents.
"""
