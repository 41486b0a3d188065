"""What tokens are called when their plan is stored, kept beside it: a name may be gone or another one later.

The server takes them from GitLab's tables into the journal's, so no name travels. A secret is none of them.
"""

from tokens.database import Connection
from tokens.gitlab.needs import Needs
from tokens.gitlab.ownership import FIRST_PLACE, REMEMBERED
from tokens.gitlab.schema import MEMBERS, ROUTES, TOKENS, USER_DETAILS, USERS, Schema

NEEDS = Needs(
    reads={
        TOKENS: ("id", "user_id", "name"),
        USERS: ("id", "username", "user_type"),
        USER_DETAILS: ("user_id", "bot_namespace_id"),
        MEMBERS: ("id", "user_id", "source_type", "source_id", "requested_at"),
        ROUTES: ("path", "source_type", "source_id", "namespace_id"),
    }
)

# The project or group of a bot, as `tokens.gitlab.ownership` has it. Of the few tokens that have one it is looked up
# alone: a join would look for it, for each of millions of others.
PATH = f"""CASE WHEN u.user_type = 6 THEN COALESCE(
        (
          SELECT r.path
          FROM public.members m
          LEFT JOIN public.routes r ON r.source_type = m.source_type AND r.source_id = m.source_id
          WHERE m.user_id = u.id AND m.requested_at IS NULL
          ORDER BY {FIRST_PLACE}
          LIMIT 1
        ){{remembered}}
      ) END"""  # noqa: S608 - a constant

# The usual case, and much quicker: every token is there. Each owner is looked up once, and all of them together.
KEEP = """
    WITH planned AS MATERIALIZED (
      SELECT c.position, t.id, t.user_id, t.name
      FROM token_tasks.chunks c
      JOIN public.personal_access_tokens t ON t.id = ANY (c.token_ids)
      WHERE c.run_id = %(run)s AND c.position BETWEEN %(first)s AND %(last)s
    ),
    owners AS MATERIALIZED (
      SELECT u.id, u.username, {path} AS path
      FROM public.users u
      WHERE u.id = ANY (ARRAY(SELECT DISTINCT user_id FROM planned))
    )
    INSERT INTO token_tasks.names (run_id, position, accounts, tokens, paths)
    SELECT c.run_id, c.position, found.accounts, found.tokens, found.paths
    FROM (
      SELECT
        p.position,
        array_agg(CAST(p.id AS bigint) ORDER BY p.id) AS ids,
        array_agg(o.username ORDER BY p.id) AS accounts,
        array_agg(p.name ORDER BY p.id) AS tokens,
        array_agg(o.path ORDER BY p.id) AS paths
      FROM planned p
      LEFT JOIN owners o ON o.id = p.user_id
      GROUP BY p.position
    ) found
    JOIN token_tasks.chunks c ON c.run_id = %(run)s AND c.position = found.position AND c.token_ids = found.ids
"""

# The other chunks: a token is gone since the plan.
KEEP_OTHERS = """
    INSERT INTO token_tasks.names (run_id, position, accounts, tokens, paths)
    SELECT c.run_id, c.position, found.accounts, found.tokens, found.paths
    FROM token_tasks.chunks c
    CROSS JOIN LATERAL (
      SELECT
        array_agg(u.username ORDER BY one.place) AS accounts,
        array_agg(t.name ORDER BY one.place) AS tokens,
        array_agg({path} ORDER BY one.place) AS paths
      FROM unnest(c.token_ids) WITH ORDINALITY AS one (id, place)
      LEFT JOIN public.personal_access_tokens t ON t.id = one.id
      LEFT JOIN public.users u ON u.id = t.user_id
    ) found
    WHERE c.run_id = %(run)s
      AND c.position BETWEEN %(first)s AND %(last)s
      AND NOT EXISTS (SELECT FROM token_tasks.names n WHERE n.run_id = c.run_id AND n.position = c.position)
"""

KEEP_OF_ROTATIONS = """
    UPDATE token_tasks.rotations p
    SET account = u.username, name = t.name, path = {path}
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    WHERE p.run_id = %(run)s AND t.id = p.token_id
"""


def path(schema: Schema) -> str:
    """SQL: the full path of the project or group of a bot `u`; NULL for anybody else."""
    remembered = f",\n        {REMEMBERED}" if schema.has(USER_DETAILS, "bot_namespace_id") else ""
    return PATH.replace("{remembered}", remembered)


def keep(connection: Connection, schema: Schema, run: int, first: int, last: int, chunks: int) -> None:
    """Keep the names of the tokens in the stored chunks from one position to another, in the open transaction.

    `chunks` is how many these are.
    """
    of_bot = path(schema)
    positions = {"run": run, "first": first, "last": last}
    # The server would find the names of all chunks once more before it sees that there are no others.
    if connection.execute(KEEP.replace("{path}", of_bot), **positions) < chunks:
        connection.execute(KEEP_OTHERS.replace("{path}", of_bot), **positions)


def keep_of_rotations(connection: Connection, schema: Schema, run: int) -> None:
    """Keep the names of the tokens of a run that gets successors for them, in the open transaction."""
    connection.execute(KEEP_OF_ROTATIONS.replace("{path}", path(schema)), run=run)
