"""Metadata tables: from files to records in the engine.

`files` finds them, `csv`, `json` and `parquet` stage them, `mapping` and `expressions` turn
staged rows into records, `load` is all of it for one source. Files are read through the storage
contract; the engine opens none itself. A row that cannot be used becomes a reject, never a guess.
"""
