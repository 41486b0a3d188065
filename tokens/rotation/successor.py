"""Making a successor: a new token in clear, and the row with its digest that GitLab will find it by."""

import secrets
from dataclasses import dataclass

from tokens.database import Connection
from tokens.errors import DatabaseError, Refused
from tokens.gitlab.digest import Keys
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.plaintext import Payload, Random, form_for, new_token, read_prefix
from tokens.gitlab.schema import GRANULAR_SCOPES, TOKENS, Schema, read_schema
from tokens.gitlab.scope_list import scopes_of
from tokens.gitlab.settings import read_policy, read_rules
from tokens.gitlab.triggers import change, change_returning
from tokens.journal.record import Record
from tokens.rotation import columns, memberships, new_owner
from tokens.rotation.candidate import Candidate
from tokens.rotation.new_owner import NewOwner
from tokens.rotation.obstacles import check_instance, obstacle, read_standings
from tokens.rotation.plan import Rotation
from tokens.rotation.stage import OldTokenGone, PlanOutdated, Stage, reach, require, step
from tokens.secret import Secret

TRIES = 5

# Whoever else rotates or revokes this token waits, or has been before.
LOCK = """
    SELECT t.user_id, {organization} AS organization_id
    FROM public.personal_access_tokens t
    WHERE t.id = %(token)s
    FOR UPDATE
"""

# To name the index on the digests would take the privilege to read them.
INSERT = """
    INSERT INTO public.personal_access_tokens
      ({columns})
    SELECT
      {values}
    FROM public.personal_access_tokens t
    JOIN public.users u ON u.id = COALESCE(CAST(%(owner)s AS bigint), t.user_id)
    WHERE t.id = %(token)s
    ON CONFLICT DO NOTHING
    RETURNING id
"""

COPY_GRANULAR_SCOPES = """
    INSERT INTO public.personal_access_token_granular_scopes
      (organization_id, personal_access_token_id, granular_scope_id)
    SELECT g.organization_id, %(successor)s, g.granular_scope_id
    FROM public.personal_access_token_granular_scopes g
    WHERE g.personal_access_token_id = %(token)s
    ORDER BY g.id
"""

# An earlier one was given up, and is not forgotten.
KEEP = """
    UPDATE token_tasks.rotations
    SET
      given_up = array_remove(given_up || successor_id, NULL),
      successor_id = %(successor)s,
      successor_name = (SELECT t.name FROM public.personal_access_tokens t WHERE t.id = %(successor)s)
    WHERE run_id = %(run)s AND token_id = %(token)s
"""


@dataclass(frozen=True)
class Successor:
    """A token that nobody has been given yet, and the only place where it is in clear; `expires_at` None is never."""

    id: int
    token: Secret
    expires_at: ExpirationDate | None


def create(
    connection: Connection,
    rotation: Rotation,
    keys: Keys,
    *,
    run: Record,
    random: Random = secrets.token_bytes,
) -> Successor:
    """Make the successor of one token, in one transaction with its record; the old token lives on.

    The old row is locked and looked at again: of two that rotate one token at once, the second is refused.

    Raises:
        DatabaseError: nothing was made, unless the connection was lost at the end; `resumable` tells.
        OldTokenGone: nothing was made, and nothing will be.
        Refused: the token cannot be rotated any more, or not as it was planned; nothing was made.
        TakenOver: another process goes on with the run.
    """
    token_id = rotation.candidate.id
    with step(connection, run):
        schema = read_schema(connection)
        entry = require(connection, run, token_id, Stage.CREATED)
        expires_at = ExpirationDate.stored_or_none(entry.new_expires_at)
        organization = "t.organization_id" if schema.has(TOKENS, "organization_id") else "0"
        old = connection.row(LOCK.format(organization=organization), token=token_id)
        if old is None:
            raise OldTokenGone(f"Token {token_id} is gone.")
        # Only a statement that begins after the lock was had sees what was committed while it was waited for.
        _check(connection, schema, rotation.candidate, expires_at, entry.new_owner)
        owner = None if entry.new_owner is None else entry.new_owner.id
        payload = Payload(old.organization_id, user_id=owner or old.user_id)
        successor, token = _insert(connection, schema, token_id, owner, keys, payload, expires_at, random)
        if schema.has(GRANULAR_SCOPES) and owner is None:
            change(connection, COPY_GRANULAR_SCOPES, successor=successor, token=token_id)
        memberships.move(connection, run, token_id, entry)
        connection.execute(KEEP, run=run.run, token=token_id, successor=successor)
        reach(connection, run, token_id, Stage.CREATED)
    return Successor(successor, token, expires_at)


def _check(
    connection: Connection,
    schema: Schema,
    planned: Candidate,
    expires_at: ExpirationDate | None,
    owner: NewOwner | None,
) -> None:
    token_id = planned.id
    rules = read_rules(connection, schema)
    check_instance(rules)
    # Whether people's tokens may be rotated was decided when the plan was made.
    account = None if owner is None else new_owner.read(connection, schema, owner)
    standing = read_standings(connection, schema, [token_id])[token_id]
    if standing.revoked:
        raise OldTokenGone(f"{standing} was revoked in the meantime.")
    if standing.live_successor is not None and standing.unfinished_run is None:
        raise OldTokenGone(f"{standing} was rotated already, and its successor {standing.live_successor} works.")
    reason = obstacle(standing, rules, allow_personal=True, new_owner=account)
    if reason:
        raise Refused(reason)
    if (standing.user_id, standing.name, scopes_of(standing.scopes)) != (planned.user_id, planned.name, planned.scopes):
        raise PlanOutdated(f"{standing} has another owner, name or scopes than when this was planned: rotate it again.")
    policy = read_policy(connection, schema)
    if expires_at is not None and expires_at <= policy.today:
        raise PlanOutdated(
            f"The successor of token {token_id} was planned to expire on {expires_at}, which has come: rotate it again."
        )
    if expires_at is not None and policy.last_date is not None and expires_at > policy.last_date:
        raise PlanOutdated(
            f"The successor of token {token_id} was planned to expire on {expires_at}, and by now this instance allows "
            f"{policy.maximum_lifetime} days at most: rotate it again."
        )
    columns.check_known(connection, [token_id])


def _insert(
    connection: Connection,
    schema: Schema,
    token_id: int,
    owner: int | None,
    keys: Keys,
    payload: Payload,
    expires_at: ExpirationDate | None,
    random: Random,
) -> tuple[int, Secret]:
    values = columns.of_successor(schema)
    statement = INSERT.format(columns=", ".join(values), values=", ".join(values.values()))
    prefix = read_prefix(connection, schema)
    for _ in range(TRIES):
        token = new_token(form_for(schema), prefix, payload, random=random)
        made = change_returning(
            connection,
            statement,
            token=token_id,
            owner=owner,
            expires_at=expires_at and expires_at.literal,
            digest=keys.digest_with_current(token),
        )
        if made:
            return made[0], token
    raise DatabaseError(
        f"The successor of token {token_id} met a row that is there already, {TRIES} times: the sequence "
        f"public.{TOKENS}_id_seq is probably behind its table, as after a restore; set it to the largest id."
    )
