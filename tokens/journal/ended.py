"""What was done, in one line for a log: a run with who, how many tokens and the chain that proves it, or a journal."""

import json
from dataclasses import dataclass

from tokens.database import Connection
from tokens.errors import DatabaseError
from tokens.origin import Origin, described

RUN = """
    SELECT
      r.id, r.kind, r.undoes, r.state, r.tokens, r.changed, r.changed_meanwhile, r.locked, r.planned_by,
      r.withdrawn_by, a.carried_out_by, encode(r.chain, 'hex') AS chain
    FROM token_tasks.runs r
    LEFT JOIN token_tasks.attempts a ON a.run_id = r.id AND a.number = r.attempt
    WHERE r.id = %(run)s AND r.state <> 'running'
"""

MOST_NAMES = 3
LONGEST = 60  # characters of a name, or a syslog would not take the line

# A row for each chunk, or for each token of a rotation.
NAMES = """
    WITH named AS (
      (
        SELECT n.position, n.accounts, n.tokens
        FROM token_tasks.names n
        WHERE n.run_id = %(run)s
        ORDER BY n.position
        LIMIT %(most)s
      )
      UNION ALL
      SELECT p.token_id, ARRAY[p.account], ARRAY[p.name]
      FROM token_tasks.rotations p
      WHERE p.run_id = %(run)s
    )
    SELECT one.account, one.token
    FROM named n
    CROSS JOIN LATERAL unnest(n.accounts, n.tokens) WITH ORDINALITY AS one (account, token, place)
    WHERE one.token IS NOT NULL
    ORDER BY n.position, one.place
    LIMIT %(most)s
"""


@dataclass(frozen=True)
class SyslogLine:
    """Such as `run=12 kind=extend state=done …`, in ASCII, and the names of its first tokens, as it has kept them.

    No name of a token is in the text, and no reason: the number leads to both.
    """

    text: str
    names: tuple[str, ...]

    @property
    def with_names(self) -> str:
        """The text with the names as its last field, in JSON; also in ASCII."""
        return f"{self.text} names={json.dumps(self.names)}" if self.names else self.text


def line(connection: Connection, run: int) -> SyslogLine | None:
    """The line about a run; None where another process goes on with it."""
    found = connection.row(RUN, run=run)
    if found is None:
        return None
    fields = {
        "run": found.id,
        "kind": found.kind,
        "undoes": found.undoes,
        "state": found.state,
        "planned_by": json.dumps(described(found.planned_by)),
        "carried_out_by": None if found.carried_out_by is None else json.dumps(described(found.carried_out_by)),
        "withdrawn_by": None if found.withdrawn_by is None else json.dumps(described(found.withdrawn_by)),
        "tokens": found.tokens,
        "changed": found.changed,
        "changed_meanwhile": found.changed_meanwhile,
        "locked": found.locked,
        "chain": found.chain,
    }
    return SyslogLine(
        " ".join(f"{name}={value}" for name, value in fields.items() if value is not None), _names(connection, run)
    )


def of_journal(deed: str, who: Origin, **facts: object) -> SyslogLine:
    """The line about what somebody did to the journal itself, such as `journal=uninstalled runs=3 by=…`.

    Who uninstalls it leaves no other trace.
    """
    fields = {"journal": deed, **facts, "by": json.dumps(str(who))}
    return SyslogLine(" ".join(f"{name}={value}" for name, value in fields.items()), ())


def _names(connection: Connection, run: int) -> tuple[str, ...]:
    """What the first tokens of a run were called; none where they cannot be read, for a line without them is better."""
    try:
        with connection.transaction():
            rows = connection.rows(NAMES, run=run, most=MOST_NAMES)
    except DatabaseError:
        return ()
    return tuple(f"{_short(row.account or '-')}: {_short(row.token)}" for row in rows)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[:LONGEST]}..."
