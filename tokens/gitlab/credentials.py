"""What else of GitLab's expires: credentials that have tables of their own, each kind described once, to be read only.

A kind's SQL speaks of its own table as `t`, and of one that is linked to it as `l`. Never is a secret among it: no
column of a token, a key or a file.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from tokens.gitlab.needs import Needs
from tokens.gitlab.schema import Schema


class OtherKind(StrEnum):
    """What a credential is that is no access token."""

    DEPLOY_TOKEN = "deploy-token"  # noqa: S105 - a kind's name
    MEMBERSHIP = "membership"
    SSH_KEY = "ssh-key"
    DEPLOY_KEY = "deploy-key"
    TRIGGER = "trigger"
    RUNNER = "runner"
    SECURE_FILE = "secure-file"
    AGENT = "agent"


@dataclass(frozen=True)
class Credential:
    """One kind: where its rows are, and what they say.

    Each text is SQL. What a release lacks a column for is NULL there. Of several texts the first one counts that is not
    NULL.

    Attributes:
        table: in which its rows are, of schema public.
        name: its name, title or description.
        expires: a day, dead from 00:00 UTC, or a moment; NULL for never.
        dated_since: the release of GitLab that gave it an expiration date, where that is not older than 16.0.
        only: which of the table's rows are of this kind.
        revoked: whether it works no more, whatever its date says.
        user: the id of the user whose it is.
        without_place: what stands for its owner where it is in no project and no group.
        projects, groups: the ids of the projects and groups where it is, an array each or one id.
        creator: the id of the user who made it.
        last_used: when GitLab has last seen it used; empty where GitLab keeps no such thing.
        description: what else is written about it.
        scopes: the columns that say what it may do, each a boolean.
        in_ci: whether the table is in the ci database where GitLab has one of its own.
        sealed: the column with its token as GitLab encrypts it, which is compared and never read; empty for none.
    """

    kind: OtherKind
    table: str
    name: str
    expires: str = ""
    dated_since: str = ""
    only: str = ""
    revoked: str = ""
    user: str = ""
    without_place: str = ""
    projects: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    creator: str = ""
    last_used: str = ""
    description: str = ""
    scopes: tuple[str, ...] = ()
    in_ci: bool = False
    sealed: str = ""

    @property
    def texts(self) -> tuple[str, ...]:
        """All SQL of it, and the columns that every kind has."""
        own = (self.name, self.expires, self.only, self.revoked, self.user, self.without_place, self.creator)
        scopes = (f"t.{scope}" for scope in self.scopes)
        return ("t.id", "t.created_at", *own, self.last_used, self.description, *self.projects, *self.groups, *scopes)

    @property
    def needs(self) -> Needs:
        """The columns that are read."""
        return Needs(reads=_collected((self,)))

    def known(self, schema: Schema, *texts: str) -> list[str]:
        """Those of the texts of which this release has all columns."""
        return [
            text
            for text in texts
            if text and all(schema.has(table, column) for table, column in columns_of(self.table, text))
        ]


def columns_of(table: str, text: str) -> Iterator[tuple[str, str]]:
    """The tables and columns that a kind's SQL names."""
    yield from ((table, name) for name in re.findall(r"\bt\.(\w+)", text))
    for linked in re.findall(r"public\.(\w+) l\b", text):
        yield from ((linked, name) for name in re.findall(r"\bl\.(\w+)", text))


def _collected(credentials: Iterable[Credential]) -> dict[str, tuple[str, ...]]:
    found: dict[str, dict[str, None]] = {}
    for credential in credentials:
        for text in credential.texts:
            for table, column in columns_of(credential.table, text):
                found.setdefault(table, {})[column] = None
    return {table: tuple(columns) for table, columns in found.items()}


# GitLab keeps "never" of deploy tokens as the first day of the year 3000. Before 17.3 two tables of links say whose one
# is; since then the token itself does, older ones by and by.
CREDENTIALS = (
    Credential(
        OtherKind.DEPLOY_TOKEN,
        "deploy_tokens",
        name="t.name",
        expires="CASE WHEN t.expires_at < CAST('3000-01-01 00:00+00' AS timestamptz) THEN t.expires_at END",
        revoked="t.revoked IS TRUE",
        projects=(
            "t.project_id",
            "(SELECT min(l.project_id) FROM public.project_deploy_tokens l WHERE l.deploy_token_id = t.id)",
        ),
        groups=(
            "t.group_id",
            "(SELECT min(l.group_id) FROM public.group_deploy_tokens l WHERE l.deploy_token_id = t.id)",
        ),
        creator="t.creator_id",
        scopes=(
            "read_repository",
            "read_registry",
            "write_registry",
            "read_virtual_registry",
            "write_virtual_registry",
            "read_package_registry",
            "write_package_registry",
        ),
        sealed="token_encrypted",
    ),
    # GitLab deletes the bot with its membership. Those of people and service accounts are left to GitLab's own pages.
    # A date may be later than any moment that PostgreSQL has.
    Credential(
        OtherKind.MEMBERSHIP,
        "members",
        name="(SELECT l.username FROM public.users l WHERE l.id = t.user_id)",
        expires="""CASE
          WHEN t.expires_at < CAST('200000-01-01' AS date) THEN t.expires_at
          WHEN t.expires_at IS NOT NULL THEN CAST('infinity' AS date)
        END""",
        only="""t.requested_at IS NULL
      AND EXISTS (SELECT FROM public.users l WHERE l.id = t.user_id AND l.user_type = 6)""",
        user="t.user_id",
        projects=("CASE WHEN t.source_type = 'Project' THEN t.source_id END",),
        groups=("CASE WHEN t.source_type = 'Namespace' THEN t.source_id END",),
        creator="t.created_by_id",
    ),
    Credential(
        OtherKind.SSH_KEY,
        "keys",
        name="t.title",
        expires="t.expires_at",
        only="t.type IS DISTINCT FROM 'DeployKey'",
        user="t.user_id",
        last_used="t.last_used_at",
    ),
    Credential(
        OtherKind.DEPLOY_KEY,
        "keys",
        name="t.title",
        expires="t.expires_at",
        only="t.type = 'DeployKey'",
        projects=(
            "ARRAY(SELECT l.project_id FROM public.deploy_keys_projects l WHERE l.deploy_key_id = t.id ORDER BY l.id)",
        ),
        creator="t.user_id",
        last_used="t.last_used_at",
    ),
    Credential(
        OtherKind.TRIGGER,
        "ci_triggers",
        name="t.description",
        expires="t.expires_at",
        dated_since="17.9",
        user="t.owner_id",
        projects=("t.project_id",),
        in_ci=True,
        sealed="token_encrypted",
    ),
    Credential(
        OtherKind.RUNNER,
        "ci_runners",
        name="COALESCE(NULLIF(t.description, ''), t.name)",
        expires="t.token_expires_at",
        without_place="t.description",
        projects=(
            "ARRAY(SELECT l.project_id FROM public.ci_runner_projects l WHERE l.runner_id = t.id ORDER BY l.id)",
        ),
        groups=(
            "ARRAY(SELECT l.namespace_id FROM public.ci_runner_namespaces l WHERE l.runner_id = t.id ORDER BY l.id)",
        ),
        creator="t.creator_id",
        last_used="t.contacted_at",
        in_ci=True,
        sealed="token_encrypted",
    ),
    Credential(
        OtherKind.SECURE_FILE,
        "ci_secure_files",
        name="t.name",
        expires="t.expires_at",
        projects=("t.project_id",),
        in_ci=True,
    ),
    # They have no date, so what is asked about them is their last use.
    Credential(
        OtherKind.AGENT,
        "cluster_agent_tokens",
        name="t.name",
        revoked="t.status = 1",
        projects=("(SELECT l.project_id FROM public.cluster_agents l WHERE l.id = t.agent_id)",),
        creator="t.created_by_user_id",
        last_used="t.last_used_at",
        description="t.description",
        sealed="token_encrypted",
    ),
)
BY_KIND = {credential.kind: credential for credential in CREDENTIALS}

OTHERS = Needs(reads=_collected(CREDENTIALS))
"""The columns of all kinds; those of tables that are in another database do not count."""

OTHERS_IN_CI = Needs(reads=_collected(credential for credential in CREDENTIALS if credential.in_ci))
"""Those of them that are in the ci database, where GitLab has one of its own."""

SEALED = Needs(reads={one.table: (one.sealed,) for one in CREDENTIALS if one.sealed})
"""The columns in which a token is looked for; a release may lack one."""

SEALED_IN_CI = Needs(reads={one.table: (one.sealed,) for one in CREDENTIALS if one.sealed and one.in_ci})
"""Those of them that are in the ci database, where GitLab has one of its own."""
