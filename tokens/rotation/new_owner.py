"""The service account that successors of people's tokens are to belong to.

GitLab's own rotation never changes the owner, so such a token is no successor to GitLab
(`previous_personal_access_token_id` stays NULL): it revokes all successors of a revoked token that somebody tries to
rotate with, and a person who has left still has the old token. The journal knows what replaced what.
"""

from dataclasses import dataclass
from typing import Any

from tokens.database import Connection
from tokens.errors import Refused, UsageError
from tokens.gitlab.kind import HUMAN, SERVICE_ACCOUNT
from tokens.gitlab.schema import USER_DETAILS, USERS, Schema
from tokens.selection.unmatched import near_service_account

GONE = "(gone)"
ACTIVE = "active"
"""The only state of an account in which its tokens work."""

ACCOUNTS = """
    SELECT
      u.id, u.username, COALESCE(u.user_type, 0) AS user_type, u.state, COALESCE(u.admin, false) AS admin,
      {organization} AS organization_id,
      {by_project} AS by_project,
      made_by.path AS by_group,
      (SELECT r.path FROM public.routes r WHERE r.source_type = 'Namespace' AND r.source_id = top.id) AS top_group
    FROM public.users u
    LEFT JOIN public.user_details d ON d.user_id = u.id
    LEFT JOIN public.namespaces n ON n.id = d.provisioned_by_group_id
    LEFT JOIN public.routes made_by ON made_by.source_type = 'Namespace' AND made_by.source_id = n.id
    LEFT JOIN public.namespaces top ON top.id = COALESCE(n.traversal_ids[1], n.id)
    WHERE {condition}
    ORDER BY u.id
"""

BY_PROJECT = """(
        SELECT r.path
        FROM public.routes r
        WHERE r.source_type = 'Project' AND r.source_id = d.provisioned_by_project_id
      )"""


@dataclass(frozen=True)
class NewOwner:
    """A service account that new tokens belong to."""

    id: int
    username: str


@dataclass(frozen=True)
class OwnerAccount:
    """The same account as it stands. The group or project that made it is its full path; without one it is the
    instance's. `top_group` is the one above that group. `organization_id` is None where accounts have none.
    """

    id: int
    username: str
    user_type: int
    state: str | None
    admin: bool
    organization_id: int | None
    by_project: str | None
    by_group: str | None
    top_group: str | None

    @property
    def new_owner(self) -> NewOwner:
        """What a plan has of it."""
        return NewOwner(self.id, self.username)


def find(connection: Connection, schema: Schema, username: str) -> OwnerAccount:
    """The service account of this name.

    Raises:
        UsageError: there is none, or it is another kind of account.
        Refused: it does not work, so no token of it would.
    """
    found = _accounts(connection, schema, "lower(u.username) = lower(CAST(%(username)s AS text))", username=username)
    if not found:
        near = near_service_account(connection, username)
        raise UsageError(f'--new-owner: this GitLab has no service account "{username}"{near}.')
    if len(found) > 1:
        raise UsageError(f'--new-owner: this GitLab has {len(found)} accounts "{username}", so none is meant for sure.')
    account = found[0]
    if account.user_type != SERVICE_ACCOUNT:
        kind = "a person" if account.user_type == HUMAN else "a bot of GitLab's"
        raise UsageError(
            f"--new-owner takes a service account, and {account.username} is {kind}: create a service account in "
            "GitLab, and make it a member where the tokens work."
        )
    return _working(account)


def read(connection: Connection, schema: Schema, new_owner: NewOwner) -> OwnerAccount:
    """The account that a plan names, as it stands now.

    Raises:
        Refused: it is gone, no service account any more, or does not work.
    """
    found = _accounts(connection, schema, "u.id = %(account)s", account=new_owner.id)
    if not found or found[0].user_type != SERVICE_ACCOUNT:
        raise Refused(f"There is no service account {new_owner.username} any more, so nothing was made: plan again.")
    return _working(found[0])


def of_journal(row: Any) -> NewOwner | None:
    """The account that a rotation in the journal names by `new_owner_id` and, where it is still there, `new_owner`."""
    return None if row.new_owner_id is None else NewOwner(row.new_owner_id, row.new_owner or GONE)


def _accounts(connection: Connection, schema: Schema, condition: str, **values: object) -> list[OwnerAccount]:
    statement = ACCOUNTS.format(
        organization="u.organization_id" if schema.has(USERS, "organization_id") else "CAST(NULL AS bigint)",
        by_project=BY_PROJECT if schema.has(USER_DETAILS, "provisioned_by_project_id") else "CAST(NULL AS text)",
        condition=condition,
    )
    return [OwnerAccount(**row._asdict()) for row in connection.rows(statement, **values)]


def _working(account: OwnerAccount) -> OwnerAccount:
    if account.state != ACTIVE:
        raise Refused(
            f"The service account {account.username} is {account.state or 'without a state'}, so no token of it would "
            "work: activate it first."
        )
    return account
