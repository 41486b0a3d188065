"""Which token came of which by a rotation: GitLab 16.3 and later remember a successor's predecessor.

Of our rotations at 16.0 to 16.2 only the journal knows, also after an update to a later release.
"""

from dataclasses import dataclass
from typing import Any

from tokens.call import to_type
from tokens.database import Connection
from tokens.gitlab.kind import TODAY, works
from tokens.gitlab.schema import TOKENS, Schema

PREDECESSOR = "previous_personal_access_token_id"

# GitLab writes it into the successor, from 16.3 on. IS NOT NULL lets an index scan pass over what came of nothing.
BY_GITLAB = """
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = {of}.id AND s.previous_personal_access_token_id IS NOT NULL
"""

# Looked up in one hash, since the journal has no index for it.
OF_JOURNAL = "SELECT r.token_id FROM token_tasks.rotations r WHERE r.successor_id IS NOT NULL{unless_known}"

UNLESS_KNOWN = """ AND EXISTS (
              SELECT
              FROM public.personal_access_tokens g
              WHERE g.id = r.successor_id AND g.previous_personal_access_token_id IS DISTINCT FROM r.token_id
            )"""

# Made by a run that has stopped, or is under way: nobody is known to have its secret.
UNDELIVERED = """
          SELECT s.id
          FROM token_tasks.rotations r
          JOIN public.personal_access_tokens s
            ON s.id = r.successor_id AND s.created_at <= r.changed_at AT TIME ZONE 'UTC'
          WHERE r.state IN ('created', 'verified', 'delivering')
"""

KNOWS = """
    SELECT
      EXISTS (
            {of_journal}
      ) AS more,
      EXISTS (
            SELECT
            FROM token_tasks.rotations r
            WHERE r.state IN ('created', 'verified', 'delivering', 'delivered')
      ) AS unfinished
"""

UNFINISHED_RUN = f"""(
        SELECT max(r.run_id)
        FROM token_tasks.rotations r
        JOIN public.personal_access_tokens s
          ON s.id = r.successor_id AND s.created_at <= r.changed_at AT TIME ZONE 'UTC'
        WHERE r.token_id = t.id
          AND r.state IN ('created', 'verified', 'delivering', 'delivered')
          AND s.revoked IS NOT TRUE
          AND (s.expires_at IS NULL OR s.expires_at > {TODAY})
      )"""  # noqa: S608 - a constant

# It may be such a successor itself, as long as the run that has made it can go on with it: one that may be in use, and
# whose old token is revoked, stays as it is. A token that is not in the hash costs no scan.
MADE_BY = """CASE WHEN t.id IN (
        SELECT r.successor_id
        FROM token_tasks.rotations r
        WHERE r.state IN ('created', 'verified', 'delivering', 'delivered') AND r.successor_id IS NOT NULL
      ) THEN (
        SELECT max(r.run_id)
        FROM token_tasks.rotations r
        WHERE r.successor_id = t.id
          AND t.created_at <= r.changed_at AT TIME ZONE 'UTC'
          AND (
            r.state IN ('created', 'verified')
            OR r.state IN ('delivering', 'delivered') AND EXISTS (
              SELECT
              FROM public.personal_access_tokens o
              WHERE o.id = r.token_id AND o.revoked IS NOT TRUE
            )
          )
      ) END"""

# A token that is not in that hash costs no scan. One that was made after the journal knew of it is another token, which
# has got the successor's id, as after a restore of GitLab's tables.
BY_JOURNAL = """
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM token_tasks.rotations p
          JOIN public.personal_access_tokens s
            ON s.id = p.successor_id AND s.created_at <= p.changed_at AT TIME ZONE 'UTC'
          WHERE p.token_id = {{of}}.id
            AND {{of}}.id IN (
              {of_journal}
            )
"""

# One by one, since PostgreSQL plans an OR of the two badly.
HAS_BY_GITLAB = """EXISTS (
          SELECT
          FROM public.personal_access_tokens s
          WHERE s.previous_personal_access_token_id = t.id AND s.previous_personal_access_token_id IS NOT NULL
        )"""

HAS_BY_JOURNAL = """t.id IN (
          {of_journal}
        )"""

# From the catalogue, since even looking a name up fails for a role that may not look into the schema. No code of
# anybody's runs when a plain table with PostgreSQL's own types is read (see `tokens.gitlab.schema`); to plan for it,
# PostgreSQL works out what its indexes, checks and statistics are about.
JOURNAL_TABLE = """
    SELECT
      c.relkind = 'r' AND NOT c.relrowsecurity AND NOT c.relhassubclass
        AND NOT EXISTS (
          SELECT
          FROM pg_catalog.pg_attribute a
          WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid >= 16384
        )
        AND NOT EXISTS (
          SELECT
          FROM pg_catalog.pg_index i
          WHERE i.indrelid = c.oid AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL)
        )
        AND NOT EXISTS (SELECT FROM pg_catalog.pg_statistic_ext e WHERE e.stxrelid = c.oid)
        AND NOT EXISTS (
          SELECT
          FROM pg_catalog.pg_constraint k
          JOIN pg_catalog.pg_depend d
            ON d.classid = CAST('pg_catalog.pg_constraint' AS regclass) AND d.objid = k.oid
            AND d.refclassid <> CAST('pg_catalog.pg_class' AS regclass)
          WHERE k.conrelid = c.oid AND k.contype = 'c'
        )
        AND EXISTS (
          SELECT
          FROM pg_catalog.pg_roles owner
          JOIN pg_catalog.pg_class tokens ON tokens.relname = 'personal_access_tokens'
          JOIN pg_catalog.pg_namespace s ON s.oid = tokens.relnamespace AND s.nspname = 'public'
          WHERE owner.oid = c.relowner
            AND (owner.rolsuper OR owner.rolname = current_user OR owner.oid = tokens.relowner)
        ) AS is_trusted,
      has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') AS is_readable,
      quote_ident(current_user) AS role
    FROM pg_catalog.pg_namespace n
    JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = %(table)s
    WHERE n.nspname = 'token_tasks'
"""

# GitLab's own rotation leaves one as well. A successor that has a successor itself goes, and the line with it goes on.
WHOLE = """
        WITH RECURSIVE line AS (
          {first}
          UNION
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM line
          CROSS JOIN LATERAL (
          {next}
          ) s
        )
"""

# The same without those that nobody is known to have.
DELIVERED = f"""
        WITH RECURSIVE every AS (
          {{first}}
          UNION
          SELECT s.id, s.user_id, s.revoked, s.expires_at
          FROM every
          CROSS JOIN LATERAL (
          {{next}}
          ) s
        ), line AS (
          SELECT e.id, e.user_id, e.revoked, e.expires_at
          FROM every e
          WHERE e.id NOT IN ({UNDELIVERED}          )
        )
"""  # noqa: S608 - a constant

# A rotation may give the successor to another owner, who may be blocked since. Most have the token's own owner.
LINE_WORKS = f"""{works("line")}
            AND (line.user_id = t.user_id OR EXISTS (
              SELECT
              FROM public.users o
              WHERE o.id = line.user_id AND o.state = 'active'
            ))"""  # noqa: S608 - a constant
"""SQL: whether one of `line` works today, as terms with AND: an owner other than that of the token `t` is active."""

LIVE = f"""(
        ({{direct}})
        AND EXISTS ({{whole}}
          SELECT
          FROM line
          WHERE {LINE_WORKS}
        )
      )"""  # noqa: S608 - a constant

ANY = """EXISTS ({whole}
        SELECT
        FROM line
        WHERE {condition}
      )"""


@dataclass(frozen=True)
class Succession:
    """SQL about what came of a token `t` by rotations.

    `direct` are conditions, one for each source, that it has a successor; `whole` makes a table `line` of its
    successors, of theirs, and so on, with `id`, `user_id`, `revoked` and `expires_at`. One that the journal knows to be
    made and not delivered is not among them: nobody is known to have it. `unfinished_run` is the run that has made one
    that works, and has not retired the token yet; NULL where there is none. `made_by` is the run that has made the
    token itself as a successor, and has not retired the old one yet; NULL, too.
    """

    direct: tuple[str, ...]
    whole: str
    unfinished_run: str = "CAST(NULL AS bigint)"
    made_by: str = "CAST(NULL AS bigint)"

    @property
    def has_live(self) -> str:
        """SQL: whether one of its successors works today. The line is looked at only where there is one at all: few."""
        return LIVE.format(direct=" OR ".join(one.strip() for one in self.direct), whole=self.whole)

    def exists(self, condition: str) -> str:
        """SQL: whether there is one that fulfils this condition on `line`."""
        return ANY.format(whole=self.whole, condition=condition)


def look_at_journal(connection: Connection, table: str) -> Any:
    """Whether a table of the journal `is_trusted` as one that can be read, and `is_readable` for this `role`; or None.

    To write to it, or to read more, takes what `tokens.journal.trust` asks.
    """
    return connection.row(JOURNAL_TABLE, table=table)


def read_succession(connection: Connection, schema: Schema) -> Succession | None:
    """How to ask for successors here, of GitLab and of the journal; None where neither knows."""
    direct, successors, unless_known = [], [], ""
    if schema.has(TOKENS, PREDECESSOR):
        direct.append(HAS_BY_GITLAB)
        successors.append(BY_GITLAB)
        unless_known = UNLESS_KNOWN
    journal = look_at_journal(connection, "rotations")
    of_journal = OF_JOURNAL.format(unless_known=unless_known)
    usable = journal is not None and journal.is_trusted and journal.is_readable
    knows = connection.row(KNOWS.format(of_journal=of_journal)) if usable else None
    # Most journals know nothing that GitLab does not, and to ask them of each token takes half the time again.
    if knows is not None and (not successors or knows.more):
        direct.append(HAS_BY_JOURNAL.format(of_journal=of_journal))
        successors.append(BY_JOURNAL.format(of_journal=of_journal))
    if not successors:
        return None
    either = "\n          UNION ALL\n          ".join(one.strip() for one in successors)
    if knows is None or not knows.unfinished:
        return Succession(tuple(direct), WHOLE.format(first=either.format(of="t"), next=either.format(of="line")))
    delivered = DELIVERED.format(first=either.format(of="t"), next=either.format(of="every"))
    return Succession(tuple(direct), delivered, UNFINISHED_RUN, MADE_BY)


def why_unknown(connection: Connection, schema: Schema) -> str | None:
    """Why it is not known here what our rotations have replaced, though the journal is there; None where it is."""
    if schema.has(TOKENS, PREDECESSOR) or (why := _why_unasked(connection)) is None:
        return None
    return (
        "This release does not record which token replaced which, and the journal (token_tasks.rotations) cannot be "
        f"asked, so a token that a rotation has replaced counts as any other; {why}"
    )


def why_blind(connection: Connection, schema: Schema) -> str | None:
    """Why monitoring may be quiet about a token whose successor was made and never delivered; None where it is not."""
    if not schema.has(TOKENS, PREDECESSOR) or (why := _why_unasked(connection)) is None:
        return why_unknown(connection, schema)
    return (
        "The journal (token_tasks.rotations) cannot be asked, so a new token that a rotation has made and not "
        f"delivered counts as a successor that works; {why}"
    )


def _why_unasked(connection: Connection) -> str | None:
    """Why the journal is there and cannot be asked for rotations; None where it can, or is not there."""
    journal = look_at_journal(connection, "rotations")
    if journal is None or (journal.is_trusted and journal.is_readable):
        return None
    if not journal.is_trusted:
        return f"somebody else has a hand in it.{to_type('to see more', 'doctor')}"
    return (
        f"role {journal.role} may not read it: GRANT USAGE ON SCHEMA token_tasks TO {journal.role}; "
        f"GRANT SELECT ON token_tasks.rotations TO {journal.role};"
    )
