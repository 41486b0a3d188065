"""libpq's parameters and variables: what a login is made of, whatever is set around it."""

import os
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo

from tokens.address import Address
from tokens.errors import UsageError

APPLICATION_NAME = "gitlab-tokens"
CONNECT_TIMEOUT = 10  # seconds
LIVENESS = {
    "keepalives_idle": 60,  # seconds
    "keepalives_interval": 10,  # seconds
    "keepalives_count": 6,
    "tcp_user_timeout": 120_000,  # milliseconds
}
"""After two minutes without a sign of the server's machine a connection counts as lost; the kernel's own are hours."""
ASTRAY = ("PGOPTIONS", "PGHOSTADDR")
WITHOUT_PARAMETER = ("PGSERVICE", "PGDATESTYLE", "PGTZ", "PGGEQO")
"""Variables that no parameter goes before: an empty service is one that is not found, the others are settings."""
UNSAID = {"sslcertmode": "allow", "min_protocol_version": "3.0", "max_protocol_version": "3.0"}
"""What libpq takes where nothing is said, and does not list as its default; empty it would refuse."""
SYSTEM_CERTIFICATES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Where systems keep the certificates that they trust: Debian, Red Hat, SUSE, newer Red Hat, Alpine."""


def show_openssl_the_systems_certificates(parameters: Mapping[str, Any]) -> None:
    """Make `sslrootcert=system` mean this system: the OpenSSL of the driver's wheel looks in a place of its own.

    A variable of the C library does it, so that libpq still insists on verify-full, which goes with `system`. What the
    caller has set counts, and nothing is done where `parameters` and variables do not say `system`; a service may. It
    stays for good, as other threads log in at that time. `os.environ`, and so every program that is started with it,
    stays as it is; one that is started without any `env` has the variable, too.
    """
    if "SSL_CERT_FILE" in os.environ or "SSL_CERT_DIR" in os.environ:
        return
    is_service = "service" in parameters or "PGSERVICE" in os.environ
    if not is_service and parameters.get("sslrootcert", os.environ.get("PGSSLROOTCERT")) != "system":
        return
    for path in SYSTEM_CERTIFICATES:
        if os.access(path, os.R_OK):
            os.putenv("SSL_CERT_FILE", path)
            return


def parameters_of(address: Address) -> dict[str, Any]:
    """What the driver is given for a login: its parameters, ours, and one for each variable that must not count.

    Raises:
        UsageError: libpq does not understand it.
    """
    try:
        given = conninfo_to_dict(address.conninfo)
    except psycopg.ProgrammingError as error:
        # libpq quotes pieces of an address, and any may be one of a password: so the error is no cause either.
        option = (
            re.search('^invalid connection option "[a-z_]+"', str(error)) if "://" not in address.conninfo else None
        )
        reason = option[0] if option else "check its form and the names of its parameters"
        raise UsageError(f"{address.shown} is not an address that PostgreSQL understands: {reason}.") from None
    if "options" in given and not address.complete:
        raise UsageError(
            "The parameter `options` cannot be used in a target, since PgBouncer refuses it; leave it out."
        )
    # What a parameter says goes before a service's file, which may have keepalives of its own.
    liveness = {} if "service" in given or "PGSERVICE" in os.environ else LIVENESS
    parameters = {"connect_timeout": CONNECT_TIMEOUT, "application_name": APPLICATION_NAME, **liveness, **given}
    parameters["client_encoding"] = "UTF8"
    if address.complete and "service" in given:
        _unset_variables()
        return parameters
    return {**_instead_of_variables(complete=address.complete), **parameters}


def _instead_of_variables(*, complete: bool) -> dict[str, str]:
    """A parameter for each of libpq's variables that must not count, with what libpq takes where there is none.

    Of a complete address these are all, else those that would lead it astray: PGOPTIONS would become a start-up
    parameter, which PgBouncer refuses, and PGHOSTADDR goes before any host.

    A parameter goes before its variable, so that the environment stays as it is: other threads log in at that time, or
    start commands, which are to have all of it.
    """
    if not any(name.startswith("PG") for name in os.environ):
        return {}
    instead = {
        keyword: default
        for variable, (keyword, default) in _defaults().items()
        if variable in os.environ and (complete or variable in ASTRAY)
    }
    if not complete:
        service = os.environ.get("PGSERVICE")  # libpq itself may not see it any more
        return instead if service is None else {"service": service, **instead}
    for name in WITHOUT_PARAMETER:
        if name in os.environ:
            # Out of the C library's sight, and there for good; `os.environ`, and whoever is started with it, keeps it.
            os.unsetenv(name)
    return instead


def _unset_variables() -> None:
    """Take all of libpq's variables out of the C library's sight, as a parameter instead would go before a service."""
    for name in os.environ:
        if name.startswith("PG"):
            os.unsetenv(name)


@cache
def libpq_parameters() -> frozenset[str]:
    """The names of all parameters that the libpq at hand knows."""
    return frozenset(option.keyword.decode() for option in Conninfo.get_defaults())


@cache
def libpq_variables() -> dict[str, str]:
    """libpq's environment variables: the parameter that each one stands for."""
    return {option.envvar.decode(): option.keyword.decode() for option in Conninfo.get_defaults() if option.envvar}


@cache
def _defaults() -> dict[str, tuple[str, str]]:
    """libpq's variables: each one's parameter, and what counts where neither is set; empty where that is nothing."""
    found = {
        option.envvar.decode(): (keyword, UNSAID.get(keyword, (option.compiled or b"").decode()))
        for option in Conninfo.get_defaults()
        if option.envvar and (keyword := option.keyword.decode()) != "service"
    }
    if "PGSSLMODE" in found:
        found["PGREQUIRESSL"] = found["PGSSLMODE"]  # the older of the two, which libpq reads still
    return found
