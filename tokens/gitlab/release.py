"""Which release of GitLab this is: by its version, or by a bare database as far as that tells."""

import re

from tokens.database import Connection
from tokens.gitlab import preflight
from tokens.gitlab.needs import Needs
from tokens.gitlab.schema import MIGRATIONS, Schema

NEEDS = Needs(reads={MIGRATIONS: ("version",)})

NEWEST_MIGRATION = """
    SELECT max(version) AS version
    FROM public.schema_migrations
    WHERE version ~ '^20[0-9]{12}$'
"""

FIRST_MONTH = 2023 * 12 + 4  # GitLab 16.0 came in May 2023; since then a minor release a month, a major one each May
FIRST_MAJOR = 16
FREEZE = 15  # day of the month after which a migration comes with the next month's release

MINORS = 12  # of a major release, since 16.0
NEWEST_PATCH = float("inf")

Version = tuple[int, int, float]
"""Major, minor, patch."""

RELEASE = re.compile(r"v?(\d+)\.(\d+)(?:\.(\d+))?", re.ASCII)


def read_release(connection: Connection, schema: Schema) -> str | None:
    """The release to which the newest migration belongs, such as `18.4`; None where nothing tells this role.

    GitLab names its migrations after the second in which they were written, and releases in the month's third week, so
    this may be one release off.
    """
    if not schema.has(MIGRATIONS) or preflight.missing_privileges(connection, NEEDS):
        return None
    version = connection.row(NEWEST_MIGRATION).version
    return None if version is None else release_of(version)


def release_of(migration: str) -> str | None:
    """The release that brought a migration with this number, such as `20250901000000`; None for one before 16.0."""
    year, month, day = int(migration[:4]), int(migration[4:6]), int(migration[6:8])
    months = year * 12 + month - 1 + (day > FREEZE) - FIRST_MONTH
    if months < 0:
        return None
    major, minor = divmod(months, MINORS)
    return f"{FIRST_MAJOR + major}.{minor}"


def numbers_of(release: str | None) -> tuple[int, int, int | None] | None:
    """The major, the minor and the patch number of a release such as `17.11.1-ee`, or of `18.4`, which has no patch."""
    found = RELEASE.match(release.strip()) if release else None
    return (int(found[1]), int(found[2]), int(found[3]) if found[3] else None) if found else None


def span_of(exact: str | None, estimate: str | None) -> tuple[Version, Version] | None:
    """The first and the last version that an instance can have; None where nothing is known of it.

    `exact` is its version such as `17.8.1-ee`, where that is known. Else `estimate`, such as `17.8`, counts with its
    neighbours, as it may be one release off.
    """
    if numbers := numbers_of(exact):
        major, minor, patch = numbers
        return (major, minor, patch or 0), (major, minor, NEWEST_PATCH if patch is None else patch)
    if not (numbers := numbers_of(estimate)):
        return None
    minors = numbers[0] * MINORS + numbers[1]
    return (*divmod(minors - 1, MINORS), 0), (*divmod(minors + 1, MINORS), NEWEST_PATCH)


def least_of(exact: str | None, estimate: str | None) -> tuple[int, int] | None:
    """The least release that an instance can have, major and minor number; None where nothing is known of it."""
    span = span_of(exact, estimate)
    return None if span is None else span[0][:2]
