"""Where a PostgreSQL database is. A leaf without a driver, so that choosing a target costs no database library."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Advice:
    """What to do when nobody can log in, by what is wrong; each a clause that a full stop follows."""

    unreachable: str = "check the target and that the server runs"
    peer: str = "run this as the account that the server expects, or log in with a password"
    password: str = "a password is taken from PGPASSWORD or ~/.pgpass"  # noqa: S105 - advice on one
    tls: str = "check sslmode and the certificates' files in the target"


@dataclass(frozen=True)
class Address:
    """One database, as libpq needs it.

    `conninfo` is a libpq connection string, either form (`host=… dbname=…` or `postgresql://…`); it may hold a password
    and is never shown. `shown` is what messages call the place. `complete` says that none of libpq's variables (PGHOST,
    PGSERVICE, …) may add to it: an administrator's shell must not redirect us.
    """

    conninfo: str
    shown: str
    complete: bool = False
    advice: Advice = field(default_factory=Advice)

    def __repr__(self) -> str:
        return f"Address({self.shown!r})"


def shown_place(parameters: Mapping[str, str]) -> str:
    """Server and database of a login with libpq's `parameters`, for people: `db:5432/gitlabhq_production`."""
    place = parameters.get("hostaddr") or parameters.get("host", "")
    if port := parameters.get("port"):
        place = f"{place}:{port}"
    if service := parameters.get("service"):
        place = f"{place} of service {service}".strip()
    return f"{place}/{parameters.get('dbname', '')}"


def conninfo(parameters: Mapping[str, str]) -> str:
    """libpq's connection string for these parameters."""
    return " ".join(f"{name}='{_escaped(value)}'" for name, value in parameters.items())


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "\\'")
