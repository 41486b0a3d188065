"""What the instance is called in documents and messages."""

from contextlib import suppress
from dataclasses import replace

from tokens import database
from tokens.call import current
from tokens.errors import TokensError
from tokens.gitlab.release import read_release
from tokens.gitlab.schema import read_schema
from tokens.targets.here.site import Site
from tokens.targets.instance import Instance


def unasked() -> Instance:
    """The instance in a container or pod, before anything there has said what it is."""
    return Instance(target=current().place, place="the GitLab there")


def described(site: Site) -> Instance:
    """The instance with its release, about which the database is asked where no installation tells it.

    In a transaction of its own, so that none may be open: a pooler may have one connection only.
    """
    found = site.instance
    if found.release is not None:
        return found
    with suppress(TokensError), database.reading(site.address) as connection:
        return replace(found, release=read_release(connection, read_schema(connection)))
    return found
