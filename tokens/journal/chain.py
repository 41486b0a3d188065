"""The chain of SHA-256 over the journal's rows: what is changed, missing or added afterwards is found.

Every transaction that writes rows of a run ends with one more line, which says which rows they were:

    chain.enter(connection, run, attempts=[2], rotations=[17])   # these rows, by their keys
    chain.enter(connection, run)                                 # the run's own state alone, which is always included
    chain.enter_journal(connection, settings=[2])                # what belongs to no run

A run that has just been stored is entered as a whole by `seal`, with all rows that it has in any table. `PARTS` says
what is hashed: each table of the journal belongs there, with its columns. Nothing is entered for a run that an older
version has stored (`runs.chain` is NULL) before it is sealed.

An entry is numbered text, a line for each row: the part, the key (or several keys, between commas, whose rows are
equal), and the SHA-256 of the row as JSON. Its own chain is the SHA-256 of the chain before it, its run, number and
time, and that text. The journal's own chain, of run 0, has the settings, and the chain and the state that each run had
when it was stored, and when it ended, and `-` for one that was forgotten. With each run that is stored it gets what
others have come to by then, too; so no run can go without a trace, nor what it did.

Who can write a run can add an entry. So what entries may say is bounded: a row that is written once never gets another
SHA-256, and a run gets nothing more while the journal's own chain has it at rest, until another attempt begins. The
program that an auditor gets, `check_evidence.py`, looks at that, and `tokens.journal.proof` by the same functions.

Left out are what says nothing of what was done: signs of life (`heartbeat_at`), and the revision of the tables.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tokens.database import Connection, array_literal

PAGE = 2000  # rows in one entry

# A database without an encoding may have any bytes.
ENCODING = "CASE getdatabaseencoding() WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END"

JOURNAL = 0
"""Stands for a run in the entries of what belongs to none."""

# So that of two that begin at once one sees the other. The lock ends with the transaction.
SERIALIZE = "SELECT pg_advisory_xact_lock(hashtext('token_tasks.runs'))"
MAY_SERIALIZE = "SELECT pg_try_advisory_xact_lock(hashtext('token_tasks.runs')) AS held"


@dataclass(frozen=True)
class Part:
    """Columns of a table that are written together; each is SQL about the row `r`. Rows of a run differ in the key.

    What is filled in `later` need not be entered as long as all of it is NULL. `foreign` rows have texts from GitLab's
    tables, which may be damaged: no encoding can be asked of them.
    """

    table: str
    key: str
    columns: dict[str, str]
    later: bool = False
    foreign: bool = False

    def content(self, **instead: str) -> str:
        """A row as JSON, as SQL for its bytes; `instead` has other values for some columns."""
        pairs = [f"'{name}', {sql}" for name, sql in {**self.columns, **instead}.items()]
        lines = ",\n          ".join(", ".join(pairs[start : start + 3]) for start in range(0, len(pairs), 3))
        document = f"CAST(jsonb_build_object(\n          {lines}\n        ) AS text)"
        if self.foreign:
            return f"CAST(replace({document}, chr(92), repeat(chr(92), 2)) AS bytea)"
        return f"convert_to({document}, {ENCODING})"

    def hash(self, **instead: str) -> str:
        """The SHA-256 of that, as SQL."""
        return f"encode(sha256({self.content(**instead)}), 'hex')"

    @property
    def blank(self) -> str:
        """Whether there is nothing in a row that would have to be entered, as SQL."""
        if not self.later:
            return "false"
        return f"num_nonnulls({', '.join(f'r.{name}' for name in self.columns)}) = 0"

    @property
    def run(self) -> str:
        """The run of a row, as SQL."""
        return {"runs": "r.id", "settings": str(JOURNAL)}.get(self.table, "r.run_id")

    def of_run(self, condition: str) -> str:
        """The rows of the run %(run)s that meet a condition, as SQL."""
        return condition if self.table == "settings" else f"{self.run} = %(run)s AND {condition}"

    def among(self, keys: str) -> str:
        """Whether a row has one of these keys, as SQL."""
        return f"r.{self.key} = ANY (CAST({keys} AS bigint[]))"


def _part(
    table: str,
    key: str,
    *plain: str,
    times: Sequence[str] = (),
    arrays: Sequence[str] = (),
    later: bool = False,
    foreign: bool = False,
) -> Part:
    """`times` are points in time, which come in UTC, and `arrays` come as text, which is quicker than as JSON."""
    columns = {name: f"r.{name}" for name in plain}
    columns |= {name: f"r.{name} AT TIME ZONE 'UTC'" for name in times}
    columns |= {name: f"CAST(r.{name} AS text)" for name in arrays}
    return Part(table, key, columns, later=later, foreign=foreign)


def _each_in_utc(*names: str) -> dict[str, str]:
    """The same for columns that are arrays of points in time."""
    utc = "ARRAY(SELECT one.at AT TIME ZONE 'UTC' FROM unnest(r.{}) WITH ORDINALITY AS one (at, place) ORDER BY place)"
    return {name: f"CASE WHEN r.{name} IS NOT NULL THEN {utc.format(name)} END" for name in names}


STATE = _part(
    *("runs", "id", "state", "changed", "changed_meanwhile", "locked", "attempt", "recounted"),
    *("withdrawn_by", "withdrawn_because"),
    times=["finished_at", "withdrawn_at"],
)
RESULTS = _part("chunks", "position", times=["done_at"], arrays=["left_alone", "locked"], later=True)

PARTS = {
    "runs": _part(
        *("runs", "id", "kind", "selection", "change", "memberships", "notices", "reason", "planned_by"),
        *("tool_version", "undoes", "tokens", "policy"),
        times=["created_at"],
    ),
    "state": STATE,
    "attempts": _part("attempts", "number", "carried_out_by", "process", "tool_version", times=["started_at"]),
    "ends": _part("attempts", "number", "stopped_because", times=["ended_at"], later=True),
    "chunks": _part("chunks", "position", "old_expires_at", "new_expires_at", arrays=["token_ids"]),
    "results": RESULTS,
    "notices": Part(
        "notices",
        "id",
        {
            "position": "r.position",
            "token_ids": "CAST(r.token_ids AS text)",
            "expire_notification_delivered": "r.expire_notification_delivered",
            "after_expiry_notification_delivered": "r.after_expiry_notification_delivered",
            **_each_in_utc(
                "seven_days_notification_sent_at",
                "thirty_days_notification_sent_at",
                "sixty_days_notification_sent_at",
            ),
        },
    ),
    "memberships": _part(
        *("memberships", "id", "position", "old_expires_at", "new_expires_at", "other_expires_at"),
        arrays=["member_ids", "other_token_ids"],
    ),
    "revocations": _part("revocations", "id", "position", "revoked", "updated_at", "revoked_at", arrays=["token_ids"]),
    "names": _part("names", "position", arrays=["accounts", "tokens", "paths"], foreign=True),
    "rotations": _part(
        *("rotations", "token_id", "successor_id", "state", "old_expires_at", "new_expires_at", "grace_until"),
        *("old_member_expires_at", "new_owner_id", "account", "name", "path", "successor_name", "delivered_to"),
        times=["changed_at"],
        arrays=["given_up", "member_ids"],
        foreign=True,
    ),
    "settings": _part("settings", "id", "name", "value", "set_by", "because", times=["set_at"]),
}
"""What the chain is over, by the first word of a line."""

LEFT_OUT = {"runs": {"heartbeat_at", "entries", "chain"}}
"""Columns that nothing is hashed of."""

NOW = """to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""

CHAIN = """sha256({before} || convert_to(concat(
          {run}, ' ', {number}, ' ', {at}, chr(10),
          {written}
        ), 'UTF8'))"""

LINES = """SELECT {place} AS place, r.{key} AS key, concat('{part} ', r.{key}, ' ',
          {hash}
        ) AS line
        FROM token_tasks.{table} r
        WHERE {condition}"""

UNION = "\n        UNION ALL\n        "

NOTHING = "SELECT 0 AS place, CAST(0 AS bigint) AS key, '' AS line WHERE false"

# The UPDATE makes the chain of the row as it finds it: its lock orders the transactions of those who share a run.
ENTER = """
    WITH found AS MATERIALIZED (
      SELECT COALESCE(string_agg(concat(chr(10), one.line), '' ORDER BY one.place, one.key), '') AS lines
      FROM (
        {lines}
      ) one
    ),
    entered AS (
      UPDATE token_tasks.runs r
      SET {sets}
      FROM found
      WHERE r.id = %(run)s AND r.chain IS NOT NULL{condition}
      RETURNING r.id, r.entries, {written} AS written, r.chain
    ){also}
    INSERT INTO token_tasks.entries (run_id, number, written, chain)
    SELECT id, entries, written, chain FROM entered
"""

KEYS = """
    SELECT r.{key} AS key
    FROM token_tasks.{table} r
    WHERE {run} = %(run)s AND r.{key} > %(after)s{filled}
    ORDER BY r.{key}
    LIMIT %(page)s
"""

OPEN = """
    UPDATE token_tasks.runs
    SET chain = '', entries = 0
    WHERE id = %(run)s
"""

OF_JOURNAL = CHAIN.format(
    before="COALESCE(before.chain, '')", run="0", number="this.number", at=NOW, written="this.written"
)

ENTER_JOURNAL = f"""
    INSERT INTO token_tasks.entries (run_id, number, written, chain)
    SELECT 0, this.number, this.written, {OF_JOURNAL}
    FROM (
      SELECT
        COALESCE((SELECT max(e.number) FROM token_tasks.entries e WHERE e.run_id = 0), 0) + 1 AS number,
        string_agg(one.line, chr(10) ORDER BY one.place, one.key) AS written
      FROM (
        {{lines}}
      ) one
    ) this
    LEFT JOIN token_tasks.entries before ON before.run_id = 0 AND before.number = this.number - 1
    WHERE this.written IS NOT NULL
    RETURNING cardinality(string_to_array(written, chr(10))) AS lines
"""  # noqa: S608 - a constant

# The journal's first line. Of older runs nothing can be proven, and nothing that comes later may pass for one of them.
BEFORE = """SELECT 0 AS place, 0 AS key, concat('before ', COALESCE(max(r.id), 0) + 1, ' -') AS line
        FROM token_tasks.runs r
        WHERE r.chain IS NULL
        HAVING NOT EXISTS (SELECT FROM token_tasks.entries e WHERE e.run_id = 0)"""

OF_RUN = "concat('run ', r.id, ' ', encode(r.chain, 'hex'), ' ', r.state)"

# What a run that is stored has by then, and what others have that the journal's own chain has not: one that is under
# way, and one whose end met another that was just being stored. The join is of whole lines, so that it can be hashed.
CHAINS = f"""SELECT 0 AS place, r.id AS key, {OF_RUN} AS line
        FROM token_tasks.runs r
        LEFT JOIN (
          SELECT DISTINCT one.line
          FROM token_tasks.entries e
          CROSS JOIN LATERAL unnest(string_to_array(e.written, chr(10))) AS one (line)
          WHERE e.run_id = 0
        ) known ON known.line = {OF_RUN}
        WHERE r.chain IS NOT NULL AND (r.id = %(run)s OR known.line IS NULL)"""  # noqa: S608 - constants

# What a run has that has just ended.
ENDED = f"""SELECT 0 AS place, r.id AS key, {OF_RUN} AS line
        FROM token_tasks.runs r
        WHERE r.chain IS NOT NULL AND r.id = %(run)s"""  # noqa: S608 - a constant

# The last of them says that the run is gone, the one before it what it had been; one from before revision 4 had none.
FORGOTTEN = """SELECT line.place, one.run AS key, concat('run ', one.run, ' ', line.chain) AS line
        FROM unnest(CAST(%(runs)s AS bigint[]), CAST(%(chains)s AS text[])) AS one (run, chain)
        CROSS JOIN LATERAL (VALUES (0, one.chain), (1, '-')) AS line (place, chain)
        WHERE line.chain IS NOT NULL"""


def catch_up(connection: Connection) -> int:
    """Make the journal's first entry, unless it has one, and enter the runs that its own chain lacks; how many."""
    return _enter_journal(connection, CHAINS, run=JOURNAL)


def enter(connection: Connection, run: int, **rows: Sequence[object]) -> None:
    """Enter rows of a run by their keys, under the names of PARTS, and the state of the run as it is now.

    It is the last that a transaction does. Nothing is entered for a run that has no chain.
    """
    lines = [lines_of(part, PARTS[part].among(f"%({part})s")) for part in rows]
    connection.execute(entering(lines), run=run, **{part: array_literal(keys) for part, keys in rows.items()})


def enter_journal(connection: Connection, **rows: Sequence[object]) -> None:
    """Enter rows that belong to no run, such as `settings`, by their keys."""
    lines = [lines_of(part, PARTS[part].among(f"%({part})s")) for part in rows]
    _enter_journal(connection, UNION.join(lines), **{part: array_literal(keys) for part, keys in rows.items()})


def seal(connection: Connection, run: int) -> None:
    """Enter a run with all the rows that it has: one that was just stored, or one from before revision 4.

    What is written into it later, be it in the same transaction, is entered by `enter`.
    """
    connection.execute(OPEN, run=run)
    for name, part in PARTS.items():
        if name not in ("state", "settings"):
            for keys in _pages(connection, run, part):
                enter(connection, run, **{name: keys})
    _enter_journal(connection, CHAINS, run=run)


def close(connection: Connection, run: int) -> None:
    """Enter in the journal's own chain what a run has at its end, after its own last entry.

    It does not wait where another run is just being stored: what is stored next enters it.
    """
    if connection.row(MAY_SERIALIZE).held:
        connection.execute(ENTER_JOURNAL.format(lines=ENDED), run=run)


def forget(connection: Connection, chains: Mapping[int, bytes | None]) -> None:
    """Enter that runs are gone, which had these chains at last; None for one from before revision 4."""
    hashes = array_literal("NULL" if chain is None else chain.hex() for chain in chains.values())
    _enter_journal(connection, FORGOTTEN, runs=array_literal(chains), chains=hashes)


def lines_of(part: str, condition: str) -> str:
    """The lines of the rows `r` of a part that meet a condition, as a query."""
    about = PARTS[part]
    return LINES.format(
        place=list(PARTS).index(part),
        key=about.key,
        part=part,
        hash=about.hash(),
        table=about.table,
        condition=about.of_run(condition),
    )


def entering(
    lines: Sequence[str], sets: Mapping[str, str] | None = None, condition: str = "", also: Sequence[str] = ()
) -> str:
    """The statement that enters `lines`, each a query as from `lines_of`, and tells 1 if it has.

    The UPDATE of the run that it needs can have more: `sets` are columns with SQL, of the row `r`, for their new
    values, `condition` begins with AND, and `also` are more common table expressions, which find it as `entered`.
    """
    new = dict(sets or {})
    state = {name: sql for name, sql in new.items() if name in STATE.columns}
    chain = CHAIN.format(
        before="r.chain", run="r.id", number="r.entries + 1", at=NOW, written=f"{_state(**state)}, found.lines"
    )
    assigned = {**new, "entries": "r.entries + 1", "chain": chain}
    return ENTER.format(
        lines=UNION.join(lines) or NOTHING,
        sets=",\n        ".join(f"{name} = {sql}" for name, sql in assigned.items()),
        condition=condition,
        written=f"concat({_state()}, found.lines)",
        also="".join(f",\n    {one}" for one in also),
    )


def _enter_journal(connection: Connection, lines: str, **parameters: object) -> int:
    """How many lines there were to enter."""
    connection.execute(SERIALIZE)
    connection.execute(ENTER_JOURNAL.format(lines=BEFORE))
    entered = connection.row(ENTER_JOURNAL.format(lines=lines), **parameters)
    return int(entered.lines) if entered else 0


def _state(**new: str) -> str:
    return f"'state ', r.id, ' ',\n          {STATE.hash(**new)}"


def _pages(connection: Connection, run: int, part: Part) -> Iterator[list[int]]:
    """The keys of all rows of a run that have something to enter."""
    after = -1
    filled = f" AND NOT {part.blank}" if part.later else ""
    statement = KEYS.format(key=part.key, table=part.table, run=part.run, filled=filled)
    while page := [row.key for row in connection.rows(statement, run=run, after=after, page=PAGE)]:
        yield page
        after = page[-1]
