"""Airflow's connections as fsspec options. Pure functions.

Airflow's own file systems use default credentials when a connection is missing, and drop options that
they do not know. Here a field without an exact equivalent in s3fs, gcsfs or adlfs is an error that names
it: otherwise a run would use other rights than intended. The fields are those of the connection forms of
the providers amazon, google and microsoft.azure. Messages never hold a value.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from metaferry.airflow.roles import ROLE, session_name
from metaferry.errors import UsageError


class Connection(Protocol):
    """The part of Airflow's `Connection` that is read."""

    conn_id: Any
    conn_type: Any
    host: Any
    login: Any
    password: Any

    @property
    def extra_dejson(self) -> dict[str, Any]: ...


def connection_names(aws: str | None, gcp: str | None, azure: str | None) -> dict[str, str]:
    """The ids of connections by scheme, of those that are given."""
    return {scheme: name for scheme, name in (("s3", aws), ("gs", gcp), ("az", azure)) if name}


def storage_options(connection: Connection, scheme: str) -> dict[str, Any]:
    """The fsspec options of a connection, for `s3`, `gs` or `az`.

    Where it names a role or a service account to impersonate, the entry `roles.ROLE` says which: such options
    are for `roles.exchanged`. Raises UsageError for a connection of another type, and for a field that cannot
    be translated.
    """
    types, translate = _CLOUDS[scheme]
    if connection.conn_type not in types:
        raise UsageError(
            f"connection {connection.conn_id!r} is of type {connection.conn_type!r}, "
            f"expected {' or '.join(repr(each) for each in types)}"
        )
    return translate(_Fields(connection))


class _Fields:
    """The fields of a connection. Empty ones count as missing; `done` refuses those that were not taken."""

    def __init__(self, connection: Connection) -> None:
        self.name = str(connection.conn_id)
        self.host = connection.host or None
        self.login = connection.login or None
        self.password = connection.password or None
        self._extra = {
            # Prefixes of older providers.
            key.removeprefix("extra__google_cloud_platform__").removeprefix("extra__wasb__"): value
            for key, value in connection.extra_dejson.items()
            if value not in (None, "", {}, [])
        }

    def take(self, *names: str) -> Any:
        """The one of these extras that is set. UsageError if more than one is."""
        found = [name for name in names if name in self._extra]
        if len(found) > 1:
            raise self.fault(f"has both {found[0]!r} and {found[1]!r}")
        return self._extra.pop(found[0]) if found else None

    def take_mapping(self, name: str) -> dict[str, Any]:
        value = self.take(name)
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError:
                raise self.fault(f"has a {name!r} that is not JSON") from None
        if value is not None and not isinstance(value, Mapping):
            raise self.fault(f"has a {name!r} that is not a mapping")
        return dict(value or {})

    def done(self) -> None:
        """UsageError if extras are left that were not taken: they would be ignored."""
        if self._extra:
            raise self.fault(f"has {sorted(self._extra)[0]!r}, which has no equivalent in fsspec")

    def fault(self, what: str) -> UsageError:
        return UsageError(
            f"connection {self.name!r} {what}",
            advice="remove it from the connection, or give the options in the job file's `storage`",
        )


def _aws(fields: _Fields) -> dict[str, Any]:
    """Type `aws`: https://airflow.apache.org/docs/apache-airflow-providers-amazon (connections/aws)."""
    options: dict[str, Any] = {}
    key = fields.login or fields.take("aws_access_key_id")
    secret = fields.password or fields.take("aws_secret_access_key")
    if (key is None) != (secret is None):
        raise fields.fault("has one of login and password: both, or neither for the default credentials")
    if key is not None:
        options |= {"key": key, "secret": secret}
    if (token := fields.take("aws_session_token")) is not None:
        options["token"] = token
    if (profile := fields.take("profile_name")) is not None:
        options["profile"] = profile
    services = fields.take_mapping("service_config")
    service = services.get("s3", {})
    if (endpoint := fields.take("endpoint_url") or service.get("endpoint_url")) is not None:
        options["endpoint_url"] = endpoint
    client: dict[str, Any] = {}
    if (region := fields.take("region_name")) is not None:
        client["region_name"] = region
    if (verify := fields.take("verify")) is not None:
        client["verify"] = verify
    if client:
        options["client_kwargs"] = client
    if config := fields.take_mapping("config_kwargs"):
        options["config_kwargs"] = config
    method = fields.take("assume_role_method")
    external, more = fields.take("external_id"), fields.take_mapping("assume_role_kwargs")
    if (role := fields.take("role_arn")) is not None:
        if method not in (None, "assume_role"):
            raise fields.fault("has an 'assume_role_method' other than 'assume_role'")
        sts = services.get("sts", {}).get("endpoint_url")
        options[ROLE] = {
            "RoleSessionName": session_name(fields.name),
            **({"ExternalId": external} if external is not None else {}),
            **more,
            "RoleArn": role,
            **({"endpoint_url": sts} if sts is not None else {}),
        }
    elif method is not None or external is not None or more:
        raise fields.fault("has settings of a role, and no 'role_arn'")
    fields.done()
    return options


def _google(fields: _Fields) -> dict[str, Any]:
    """Type `google_cloud_platform`: the provider google's connections/gcp."""
    options: dict[str, Any] = {}
    if (project := fields.take("project")) is not None:
        options["project"] = project
    keyfile, path = fields.take_mapping("keyfile_dict"), fields.take("key_path")
    anonymous = fields.take("is_anonymous")
    if sum((bool(keyfile), path is not None, bool(anonymous))) > 1:
        raise fields.fault("has more than one of 'keyfile_dict', 'key_path' and 'is_anonymous'")
    options["token"] = keyfile or path or ("anon" if anonymous else "google_default")
    if (chain := fields.take("impersonation_chain")) is not None:
        names = chain.split(",") if isinstance(chain, str) else chain
        if anonymous:
            raise fields.fault("has both 'impersonation_chain' and 'is_anonymous'")
        options[ROLE] = {"chain": [str(name).strip() for name in names]}
    if (endpoint := fields.take("endpoint_url")) is not None:
        options["endpoint_url"] = endpoint
    fields.take("num_retries")  # retries are the job's own: `retry_for`
    fields.done()
    return options


def _azure(fields: _Fields) -> dict[str, Any]:
    """Type `wasb`: the provider microsoft.azure's connections/wasb."""
    if (connection := fields.take("connection_string")) is not None:
        fields.done()
        return {"connection_string": connection}
    options: dict[str, Any] = {}
    tenant = fields.take("tenant_id")
    account = fields.take("account_name") or _account(fields.host)
    if tenant is not None:
        # As in the provider: login and password are then those of a service principal.
        options |= {"tenant_id": tenant, "client_id": fields.login, "client_secret": fields.password}
        if fields.login is None or fields.password is None:
            raise fields.fault("has a 'tenant_id', and login or password is missing")
    else:
        account = account or fields.login
        if fields.password is not None:
            options["account_key"] = fields.password
    if account is None:
        raise fields.fault("does not name the storage account: set login, or the host")
    options["account_name"] = account
    if (sas := fields.take("sas_token")) is not None:
        if str(sas).startswith("http"):
            raise fields.fault("has a 'sas_token' that is a URL: give the part after its question mark")
        options["sas_token"] = sas
    if not options.keys() & {"account_key", "sas_token", "client_secret"}:
        options["anon"] = False  # the default chain of azure-identity
        # adlfs passes these on to it. The identity is that of the machine, or of a federated token.
        for name in ("managed_identity_client_id", "workload_identity_tenant_id"):
            if (value := fields.take(name)) is not None:
                options[name] = value
    fields.done()
    return options


def _account(host: str | None) -> str | None:
    """`fleet` of `https://fleet.blob.core.windows.net/`, and of `fleet`."""
    return None if host is None else host.partition("://")[2].partition(".")[0] or host.partition(".")[0]


_CLOUDS: Final[dict[str, tuple[tuple[str, ...], Callable[[_Fields], dict[str, Any]]]]] = {
    "s3": (("aws",), _aws),
    "gs": (("google_cloud_platform",), _google),
    "az": (("wasb", "azure_blob"), _azure),
}
