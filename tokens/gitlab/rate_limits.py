"""When GitLab turns an address away that tries too often with a token that it does not let in."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tokens.database import Connection
from tokens.gitlab import preflight
from tokens.gitlab.needs import Needs
from tokens.gitlab.schema import SETTINGS, Schema
from tokens.gitlab.settings import read_current

THROTTLE = "unauthenticated_api"
BAN = "git_basic_auth"

# GitLab's own (config/initializers/1_settings.rb), where gitlab.yml says nothing.
DEFAULT_TRIES, DEFAULT_SECONDS, DEFAULT_BAN = 10, 60, 3600

# Since 14.3, each a column of its own.
COLUMNS = tuple(f"throttle_{THROTTLE}_{name}" for name in ("enabled", "requests_per_period", "period_in_seconds"))
NEEDS = Needs(reads={SETTINGS: ("id", *COLUMNS)})


@dataclass(frozen=True)
class RateLimit:
    """How often GitLab lets one address try within a number of seconds, and what comes then.

    Attributes:
        name: `unauthenticated_api` for application_settings.throttle_unauthenticated_api_*: a call whose token is not
            let in counts as one without any, and those above the limit get status 429. `git_basic_auth` for
            rack_attack: git_basic_auth: in gitlab.yml: failed logins by Git and at the registry, after which all
            that comes from the address gets 403 for `ban` seconds.
        enabled: whether it is in force; None where that cannot be seen.
        tries: how many are allowed.
        seconds: within how many.
        ban: for how long GitLab bans the address, in seconds; None where it does not.
    """

    name: str
    enabled: bool | None
    tries: int
    seconds: int
    ban: int | None = None


def read_throttle(connection: Connection, schema: Schema) -> RateLimit | None:
    """The limit on calls without a token that GitLab accepts; None where it cannot be seen."""
    if not schema.has(SETTINGS, "id", *COLUMNS) or preflight.missing_privileges(connection, NEEDS):
        return None
    current = read_current(connection, [", ".join(COLUMNS)])
    if not current:
        return None
    enabled, tries, seconds = current.values()
    return RateLimit(THROTTLE, bool(enabled), tries, seconds)


def ban_of(settings: Mapping[str, Any] | None) -> RateLimit:
    """The ban as gitlab.yml has it below `rack_attack: git_basic_auth:`; None where that file is not here."""

    def number(name: str, default: int) -> int:
        found = (settings or {}).get(name)
        return found if type(found) is int and found > 0 else default

    return RateLimit(
        BAN,
        # GitLab has it off unless somebody turns it on.
        None if settings is None else settings.get("enabled") not in (None, False),
        number("maxretry", DEFAULT_TRIES),
        number("findtime", DEFAULT_SECONDS),
        number("bantime", DEFAULT_BAN),
    )
