"""A run that has ended, in one line for a log: its number, who, how many tokens, and the chain that proves it."""

import json

from tokens.database import Connection
from tokens.origin import described

RUN = """
    SELECT
      r.id, r.kind, r.undoes, r.state, r.tokens, r.changed, r.changed_meanwhile, r.locked, r.planned_by,
      r.withdrawn_by, a.carried_out_by, encode(r.chain, 'hex') AS chain
    FROM token_tasks.runs r
    LEFT JOIN token_tasks.attempts a ON a.run_id = r.id AND a.number = r.attempt
    WHERE r.id = %(run)s AND r.state <> 'running'
"""


def line(connection: Connection, run: int) -> str | None:
    """Such as `run=12 kind=extend state=done …`, in ASCII; None where another process goes on with the run.

    No name of a token is in it, and no reason: the number leads to both.
    """
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
    return " ".join(f"{name}={value}" for name, value in fields.items() if value is not None)
