"""The parts of a connection string of an Azure storage account. Pure.

https://learn.microsoft.com/azure/storage/common/storage-configure-connection-string
"""

from __future__ import annotations


def connection_parts(text: str) -> dict[str, str]:
    """The values by their names in lower case: `accountname`, `accountkey`, `blobendpoint` …"""
    return {
        name.strip().lower(): value.strip()
        for name, mark, value in (part.partition("=") for part in text.split(";"))
        if mark
    }
