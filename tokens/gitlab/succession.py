"""Which token came of which by a rotation: GitLab 16.3 and later remember a successor's predecessor."""

from dataclasses import dataclass

from tokens.database import Connection
from tokens.gitlab.schema import TOKENS, Schema

PREDECESSOR = "previous_personal_access_token_id"

# GitLab writes it into the successor, from 16.3 on. IS NOT NULL lets an index scan pass over what came of nothing.
BY_GITLAB = """
          SELECT s.id, s.revoked, s.expires_at
          FROM {old}public.personal_access_tokens s
          {on} s.previous_personal_access_token_id = {of}.id AND s.previous_personal_access_token_id IS NOT NULL
"""

# What came of GitLab's own rotations nobody knows then, and of ours the journal.
BY_JOURNAL = """
          SELECT s.id, s.revoked, s.expires_at
          FROM {old}token_tasks.rotations p
          JOIN public.personal_access_tokens s ON s.id = p.successor_id
          WHERE p.token_id = {of}.id
"""

# From the catalogue, since even looking a name up fails for a role that may not look into the schema. No code of
# anybody's runs when a plain table with PostgreSQL's own types is read.
JOURNAL_KNOWS = """
    SELECT EXISTS (
      SELECT
      FROM pg_catalog.pg_namespace n
      JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = 'rotations'
      WHERE n.nspname = 'token_tasks'
        AND c.relkind = 'r' AND NOT c.relrowsecurity AND NOT c.relhassubclass
        AND NOT EXISTS (
          SELECT
          FROM pg_catalog.pg_attribute a
          JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
          JOIN pg_catalog.pg_namespace of_type ON of_type.oid = t.typnamespace
          WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND of_type.nspname <> 'pg_catalog'
        )
        AND EXISTS (
          SELECT
          FROM pg_catalog.pg_roles owner
          JOIN pg_catalog.pg_class tokens ON tokens.relname = 'personal_access_tokens'
          JOIN pg_catalog.pg_namespace s ON s.oid = tokens.relnamespace AND s.nspname = 'public'
          WHERE owner.oid = c.relowner
            AND (owner.rolsuper OR owner.rolname = current_user OR owner.oid = tokens.relowner)
        )
        AND has_schema_privilege(n.oid, 'USAGE')
        AND has_table_privilege(c.oid, 'SELECT')
    ) AS knows
"""

# GitLab's own rotation leaves one as well. A successor that has a successor itself goes, and the line with it goes on.
WHOLE = """
        WITH RECURSIVE line AS (
          {first}
          UNION
          {next}
        )
"""


@dataclass(frozen=True)
class Line:
    """SQL about what came of a token `t` by rotations.

    `direct` selects its own successors; `whole` makes a table `line` of them, of theirs, and so on. Both have `id`,
    `revoked` and `expires_at`.
    """

    direct: str
    whole: str


def read_line(connection: Connection, schema: Schema) -> Line | None:
    """How to ask for successors here; None where nobody knows."""
    if schema.has(TOKENS, PREDECESSOR):
        first = BY_GITLAB.format(old="", on="WHERE", of="t")
        then = BY_GITLAB.format(old="line JOIN ", on="ON", of="line")
    elif connection.row(JOURNAL_KNOWS).knows:
        first = BY_JOURNAL.format(old="", of="t")
        then = BY_JOURNAL.format(old="line CROSS JOIN ", of="line")
    else:
        return None
    return Line(first.strip(), WHOLE.format(first=first.strip(), next=then.strip()))
