"""The adlfs client of the Azure adapter, and the failures for errors of Microsoft's SDK."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from metaferry.errors import Corrupt, Denied, Unavailable
from metaferry.storage.azure.token_failure import no_token
from metaferry.storage.errors import Failure, retry_after
from metaferry.storage.http.redirects import BoundTo

#: Where one of these is set, the platform has a token server for its identities: App Service, Functions and
#: Container Apps, Cloud Shell, AKS. Without them, an answer at the metadata address of virtual machines may
#: come from another cloud.
_IDENTITY: Final = {"IDENTITY_ENDPOINT", "MSI_ENDPOINT", "AZURE_POD_IDENTITY_AUTHORITY_HOST"}
#: How azure-identity begins its message for an answer that is no JSON.
_NO_JSON: Final = 'ManagedIdentityCredential: Unexpected content type "'


def file_system(options: Mapping[str, Any]) -> Any:
    """adlfs's file system; looking for credentials may ask the metadata service. Raises ValueError and
    TypeError, whose text quotes connection strings."""
    import adlfs

    # `asynchronous=True` would leave finalizers that fail at exit, without a loop. Only the client is
    # used, which belongs to the loop of its first request, ours.
    given = {**options, "asynchronous": False, "skip_instance_cache": True, "use_listings_cache": False}
    return adlfs.AzureBlobFileSystem(**given)


def bound_to(fs: Any) -> BoundTo:
    """Where a redirect may lead its requests."""
    client = fs.service_client
    if hasattr(client.credential, "account_key"):
        return BoundTo.URL
    anonymous = client.credential is None and not urlsplit(client.url).query
    return BoundTo.NOTHING if anonymous else BoundTo.HOST


def azure_failure(error: BaseException) -> Failure:
    """Status and code of an error of the SDK; never its text, which quotes signed URLs."""
    from azure.core import exceptions as azure

    if isinstance(error, azure.ClientAuthenticationError) and not _is_of_store(error):
        return _no_token(error)
    if isinstance(error, azure.DecodeError) and error.status_code is not None:  # another page
        return Failure(error.status_code, "BadAnswer", kind=Corrupt)
    if isinstance(error, azure.HttpResponseError) and error.status_code is not None:
        headers = getattr(error.response, "headers", None) or {}
        code = getattr(error, "error_code", None) or headers.get("x-ms-error-code") or ""
        return answered(error.status_code, str(getattr(code, "value", code)), headers)
    if isinstance(error, azure.ServiceRequestError) and "certificate" in str(error).lower():
        return Failure(code="CertificateError", kind=Denied)
    return Failure(code=type(error).__name__, kind=Unavailable)


def _is_of_store(error: Any) -> bool:
    """Whether the store refused the credentials; else no access token could be had."""
    headers = getattr(error.response, "headers", None) or {}
    return bool(getattr(error, "error_code", None) or headers.get("x-ms-error-code"))


def _no_token(error: Any) -> Failure:
    text = str(error)
    # A chain of credentials without any available one; or a single unavailable one.
    of_chain = "from the included credentials" in text and "AADSTS" not in text
    if of_chain and _IDENTITY & os.environ.keys() and _NO_JSON in text:
        # The chain drops the answer, and reports a page in place of a token as an unavailable credential.
        return no_token(text, transient=True)
    if error.response is None and (of_chain or type(error).__name__ == "CredentialUnavailableError"):
        return Failure(code="NoCredentials", kind=Denied)
    return no_token(text, status=error.status_code)


def answered(status: int, code: str, headers: Mapping[str, str]) -> Failure:
    """The failure for an answer with the service's error code."""
    return Failure(status, code, retry_after=retry_after(headers))
