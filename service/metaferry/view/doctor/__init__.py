"""Whether a job can run here: rights, stores, tables, and this machine, each as one check with its remedy.

`model` has the results, `store`, `cloud`, `machine` and `tables` measure, `judge` and `rights` say what a
measurement means (pure), `doctor` puts them together. Imported by `api_view` only. Writes below the `doctor/`
of the state folder alone, removes what it wrote, and never changes a document.
"""
