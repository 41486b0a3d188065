"""The sequences that number the journal's rows. Logical replication brings rows, and leaves these where they were."""

from tokens.database import Connection

SEQUENCES = """
    SELECT
      quote_ident(c.relname) AS name,
      quote_ident(a.attname) AS column,
      pg_get_serial_sequence('token_tasks.' || quote_ident(c.relname), a.attname) AS sequence
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attidentity <> ''
    WHERE n.nspname = 'token_tasks' AND c.relkind = 'r' AND pg_has_role(c.relowner, 'USAGE')
    ORDER BY c.relname
"""

# A run that was forgotten keeps its number.
LAST_RUN = """GREATEST(max(id), (
      SELECT max(CAST(split_part(one.line, ' ', 2) AS bigint))
      FROM token_tasks.entries e
      CROSS JOIN LATERAL unnest(string_to_array(e.written, chr(10))) AS one (line)
      WHERE e.run_id = 0 AND one.line ~ '^run [0-9]{1,18} '
    ))"""

CATCH_UP = """
    SELECT setval(CAST(%(sequence)s AS regclass), rows.last)
    FROM (SELECT {last} AS last FROM token_tasks.{name}) rows
    WHERE rows.last >= (SELECT s.last_value + CASE WHEN s.is_called THEN 1 ELSE 0 END FROM {sequence} s)
"""


def catch_up(connection: Connection) -> bool:
    """Let those that this role owns go on after their rows, in the open transaction; whether any had to."""
    moved = [
        row
        for one in connection.rows(SEQUENCES)
        for row in connection.rows(_statement(one.name, one.column, one.sequence), sequence=one.sequence)
    ]
    return bool(moved)


def _statement(name: str, column: str, sequence: str) -> str:
    last = LAST_RUN if name == "runs" else f"max({column})"
    return CATCH_UP.format(last=last, name=name, sequence=sequence)
