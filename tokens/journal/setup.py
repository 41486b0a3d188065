"""The journal installed, migrated and uninstalled. Runs are not changed here."""

from collections.abc import Collection
from dataclasses import dataclass

from tokens import database
from tokens.address import Address
from tokens.call import to_type
from tokens.counts import counted
from tokens.database import Connection
from tokens.errors import Refused
from tokens.gitlab import preflight
from tokens.gitlab.kind import works
from tokens.gitlab.schema import read_schema
from tokens.journal import chain, publications, sequences
from tokens.journal.attempts import check_idle
from tokens.journal.installation import (
    REVISION,
    UNKNOWN,
    JournalMissing,
    JournalOutdated,
    SchemaStanding,
    beyond_repair,
    check,
    check_trust,
    read_revision,
    read_standing,
)

LOCK_TIMEOUT = "5s"
STATEMENT_TIMEOUT = "10min"

RUNS = "SELECT count(*) AS runs FROM token_tasks.runs"

# Asked first: a role that has never rotated may not read all that the next statement takes.
UNFINISHED = """
    SELECT
    FROM token_tasks.rotations p
    JOIN token_tasks.runs r ON r.id = p.run_id AND r.state <> 'done'
    WHERE p.state IN ('created', 'verified', 'delivering')
"""

UNDELIVERED = f"""
    SELECT p.run_id AS run, s.id
    FROM token_tasks.rotations p
    JOIN token_tasks.runs r ON r.id = p.run_id AND r.state <> 'done'
    JOIN public.personal_access_tokens s
      ON s.id = p.successor_id AND s.created_at <= p.changed_at AT TIME ZONE 'UTC'
    WHERE p.state IN ('created', 'verified', 'delivering') AND {works("s")}
    ORDER BY p.run_id, s.id
"""  # noqa: S608 - a constant

# For the role of a name, which there may be none of, or for the one that is logged in.
TABLES_OWNER = """
    SELECT
      quote_ident(pg_get_userbyid(c.relowner)) AS owner,
      COALESCE(pg_has_role(r.oid, c.relowner, 'MEMBER'), false) AS is_ours
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_catalog.pg_roles r ON r.rolname = COALESCE(CAST(%(role)s AS name), current_user)
    WHERE n.nspname = 'public' AND c.relname = 'personal_access_tokens'
"""

# What makes the journal this role's, where parts of it belong to superusers; nothing where none does.
TAKE_OVER = """
    SELECT 'ALTER ' || o.kind || ' ' || o.name || ' OWNER TO ' || %(grantee)s || ';' AS statement
    FROM (
      SELECT 'SCHEMA' AS kind, 'token_tasks' AS name, n.nspowner AS owner
      FROM pg_catalog.pg_namespace n
      WHERE n.nspname = 'token_tasks'
      UNION ALL
      SELECT 'TABLE', 'token_tasks.' || quote_ident(c.relname), c.relowner
      FROM pg_catalog.pg_class c
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE n.nspname = 'token_tasks' AND c.relkind = 'r'
    ) o
    JOIN pg_catalog.pg_roles r ON r.oid = o.owner AND r.rolsuper
    WHERE NOT pg_has_role(o.owner, 'MEMBER')
    ORDER BY o.kind, o.name
"""

# What the revisions of the journal differ in.
SHAPE = """
    SELECT
      COALESCE(array_agg(CAST(c.relname AS text)) FILTER (WHERE c.relname <> 'alembic_version'), '{}') AS tables,
      COALESCE(bool_or(c.relname = 'alembic_version'), false) AS versioned,
      EXISTS (
        SELECT
        FROM pg_catalog.pg_class t
        JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attname = 'id' AND NOT a.attisdropped
        WHERE t.relnamespace = n.oid AND t.relname = 'notices'
      ) AS keyed
    FROM pg_catalog.pg_namespace n
    LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relkind = 'r'
    WHERE n.nspname = 'token_tasks'
    GROUP BY n.oid
"""

# What others than the owner may do, as statements that end it: all of it with a journal that was just made; with an
# older one what came from default privileges and what everybody may, for the rest somebody has granted on purpose.
UNWANTED = """
    SELECT DISTINCT
      'REVOKE ' || acl.privilege_type || ' ON ' || o.kind || ' ' || o.name || ' FROM '
        || COALESCE(quote_ident(r.rolname), 'PUBLIC') || ' CASCADE' AS statement
    FROM (
      SELECT 'SCHEMA' AS kind, 'n' AS class, 'token_tasks' AS name, n.oid AS space, n.nspowner AS owner, n.nspacl AS acl
      FROM pg_catalog.pg_namespace n
      WHERE n.nspname = 'token_tasks'
      UNION ALL
      SELECT
        CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, CASE c.relkind WHEN 'S' THEN 'S' ELSE 'r' END,
        'token_tasks.' || quote_ident(c.relname), n.oid, c.relowner, c.relacl
      FROM pg_catalog.pg_class c
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'token_tasks'
      WHERE c.relkind IN ('r', 'S')
    ) o
    CROSS JOIN LATERAL aclexplode(o.acl) acl
    LEFT JOIN pg_catalog.pg_roles r ON r.oid = acl.grantee
    WHERE acl.grantee <> o.owner
      AND r.rolname IS DISTINCT FROM current_user
      AND pg_has_role(o.owner, 'USAGE')
      AND (
        CAST(%(new)s AS boolean)
        OR acl.grantee = 0
        OR EXISTS (
          SELECT
          FROM pg_catalog.pg_default_acl d
          CROSS JOIN LATERAL aclexplode(d.defaclacl) given
          WHERE d.defaclrole = o.owner
            AND d.defaclobjtype = CAST(o.class AS "char")
            AND d.defaclnamespace IN (0, o.space)
            AND given.grantee = acl.grantee
            AND given.privilege_type = acl.privilege_type
        )
      )
    ORDER BY statement
"""


@dataclass(frozen=True)
class Installed:
    """What `install` found and left: the revision before, None where there was no journal, and the one from now on.

    `caught_up` is whether numbers of its rows would have been given out again, and `entered` how many runs its chain
    did not cover as they are.
    """

    before: str | None
    revision: str
    caught_up: bool = False
    entered: int = 0

    def __str__(self) -> str:
        if self.before is None:
            return f"The journal is installed, revision {self.revision}."
        if self.before == self.revision:
            behind = " Its sequences were behind its rows, and are not any more." if self.caught_up else ""
            covers = f" The chain covers {counted(self.entered, 'more run')} now." if self.entered else ""
            return f"The journal was installed already, revision {self.revision}.{behind}{covers}"
        if self.before == UNKNOWN:
            return f"The journal says its revision again, {self.revision}."
        return f"The journal is migrated from revision {self.before} to {self.revision}."


def install(address: Address, allow: Collection[str] = ()) -> Installed:
    """Install the journal in GitLab's main database, or bring an older one up to date, or one that was replicated.

    Nobody but its owner may look at a journal that is made now, whatever default privileges say.

    Raises:
        DatabaseError: see `tokens.errors`.
        JournalUntrusted: see `tokens.journal.trust`.
        Refused: another database, one that takes no changes, a missing privilege with the GRANT that would help, a
            journal that a newer version of the tool has made, or one that a publication would carry, unless `allow`
            has its guard.
    """
    with database.reading(address) as connection:
        state = preflight.read_state(connection)
        preflight.check_tables(state, read_schema(connection))
        preflight.check_writable(connection, state)
        before = _check_installable(connection, state)
        if before != REVISION:
            publications.check(connection, allow)
    if before == REVISION:
        return Installed(before, REVISION, *_caught_up(address))
    from tokens.upgrade import Branch, upgrade

    def revision_to_say(connection: Connection) -> str | None:
        check_trust(connection)
        return _revision_to_say(connection)

    def make_private(connection: Connection) -> None:
        for row in connection.rows(UNWANTED, new=before is None):
            connection.execute(row.statement)
        # Whoever was quicker, and made the schema in the meantime, may not keep it.
        check_trust(connection)
        chain.catch_up(connection)

    upgrade(address, Branch.JOURNAL, before=revision_to_say, after=make_private)
    return Installed(before, REVISION)


def _caught_up(address: Address) -> tuple[bool, int]:
    """Let our journal go on after what it has; whether its sequences were behind, and how many runs it has entered."""
    timeouts = {"lock_timeout": LOCK_TIMEOUT, "statement_timeout": STATEMENT_TIMEOUT}
    with database.connect(address) as connection, database.writing(connection, **timeouts):
        check_trust(connection)
        behind = sequences.catch_up(connection)
        entered = chain.catch_up(connection) if read_standing(connection).owns_tables else 0
    return behind, entered


def statements(address: Address) -> str:
    """The SQL that makes the journal's tables, for a subscriber of a publication that carries them; nothing is changed.

    Where an older journal is installed it is what brings that one up to date.

    Raises what `install` raises, but for the publication.
    """
    from tokens.upgrade import Branch
    from tokens.upgrade import statements as statements_since

    with database.reading(address) as connection:
        preflight.check_tables(preflight.read_state(connection), read_schema(connection))
        revision = read_revision(connection)
        if revision == UNKNOWN:
            revision = _revision_to_say(connection)
    return statements_since(Branch.JOURNAL, None if revision == REVISION else revision)


def uninstall(address: Address) -> int | None:
    """Remove the journal with everything that it remembers; the number of runs that are forgotten, None without one.

    Raises what `runs_to_forget` raises.
    """
    runs = runs_to_forget(address)
    if runs is not None:
        from tokens.upgrade import BASE, Branch, downgrade

        downgrade(address, Branch.JOURNAL, BASE)
    return runs


def runs_to_forget(address: Address) -> int | None:
    """How many runs an uninstallation would forget, None where there is no journal.

    Raises:
        DatabaseError: see `tokens.errors`.
        Refused: it could not be uninstalled: a run is under way, or has made a token that works and may not be
            delivered, the database takes no changes, the journal is not ours, or it is not of this version's revision.
    """
    with database.reading(address) as connection:
        state = preflight.read_state(connection)
        preflight.check_writable(connection, state)
        check_trust(connection)
        standing = read_standing(connection)
        if not standing.installed:
            return None
        _check_ownership(connection, state, standing)
        try:
            check(connection)
        except JournalOutdated:
            _check_shape(connection, read_revision(connection))
            raise
        check_idle(connection)
        _check_delivered(connection)
        return int(connection.row(RUNS).runs)


def _check_delivered(connection: Connection) -> None:
    """Refuse to forget a new token that nobody may have: without the journal it counts as one that is in use."""
    if connection.row(UNFINISHED) is None:
        return
    made = connection.row(UNDELIVERED)
    if made is not None:
        on = to_type("to go on, with its options", "rotate", "--resume", made.run)
        raise Refused(
            f"Run {made.run} has made token {made.id}, which works and may not be delivered: bring that run to its "
            f"end, or revoke the token in GitLab.{on}"
        )


def _check_installable(connection: Connection, state: preflight.ServerState) -> str | None:
    """The revision that is there, None without a journal; refused where it cannot become ours."""
    check_trust(connection)
    standing = read_standing(connection)
    if standing.installed:
        try:
            check(connection)
        except JournalOutdated:
            _check_ownership(connection, state, standing)
            revision = read_revision(connection)
            _check_shape(connection, revision)
            return revision
        return REVISION
    if standing.has_schema and not (standing.may_enter and standing.may_create_tables):
        raise Refused(
            f"Schema token_tasks is there and belongs to role {standing.owner}, and role {standing.grantee} may not "
            f"create tables in it; as {standing.owner} run: GRANT USAGE, CREATE ON SCHEMA token_tasks TO "
            f"{standing.grantee};"
        )
    _check_owner(connection, state, standing)
    _check_creation(state, standing)
    if _revision_to_say(connection) is None:
        return None
    _check_ownership(connection, state, standing)
    return UNKNOWN


def _revision_to_say(connection: Connection) -> str | None:
    """The revision that the tables are of, where the version table does not say it; None where there is nothing to say.

    Raises:
        Refused: there are some tables of a journal, but not those of any revision.
    """
    shape = connection.row(SHAPE)
    if shape is None or not shape.tables:
        return None
    if shape.versioned and read_revision(connection) != UNKNOWN:
        return None
    found = revision_of(frozenset(shape.tables), keyed=shape.keyed)
    if found is None:
        raise beyond_repair("does not say its revision, and its tables are those of none")
    return found


def _check_shape(connection: Connection, revision: str | None) -> None:
    """Refuse to migrate tables that are not those of their revision: a backup was put back over a newer journal."""
    shape = connection.row(SHAPE)
    if revision != UNKNOWN and revision_of(frozenset(shape.tables), keyed=shape.keyed) != revision:
        raise beyond_repair(
            f"says revision {revision}, and its tables are of another one, as after a restore of an older backup over "
            "it"
        )


def revision_of(tables: frozenset[str], *, keyed: bool) -> str | None:
    """The revision that has these tables, None for no revision; `keyed` says whether notices have ids."""
    first = frozenset({"attempts", "chunks", "memberships", "notices", "runs"})
    if tables == first and not keyed:
        return "1"
    if tables == first | {"rotations"}:
        return "3" if keyed else "2"
    if tables == first | {"entries", "names", "revocations", "rotations", "settings"}:
        return "4"
    return None


def _check_creation(state: preflight.ServerState, standing: SchemaStanding) -> None:
    if not (standing.has_schema or standing.may_create_schemas):
        raise Refused(
            f'Role "{state.role}" may not create schemas in database "{state.database}", and the journal is one of its '
            "own; as the database's owner (gitlab in most installations) run: "
            f"GRANT CREATE ON DATABASE {standing.database} TO {standing.grantee};"
        )


def _check_owner(connection: Connection, state: preflight.ServerState, standing: SchemaStanding) -> None:
    """Refuse to install a journal that the owner of GitLab's tables would not trust, and so never write to.

    Who finds a schema that somebody has prepared for it is meant to.
    """
    owner = read_installer(connection, standing)
    if owner is not None:
        raise Refused(
            f'A journal of role "{state.role}" could not be used by role {owner}, which owns GitLab\'s tables, '
            f"since it might run somebody else's code: install it as {owner}."
        )


def _check_ownership(connection: Connection, state: preflight.ServerState, standing: SchemaStanding) -> None:
    """Refuse a journal whose tables the role can neither change nor drop."""
    if not (standing.owns_schema and standing.owns_tables):
        # To be a member of a superuser is to be one.
        taken_over = [row.statement for row in connection.rows(TAKE_OVER, grantee=standing.grantee)]
        cure = " ".join(taken_over) or f"GRANT {standing.owner} TO {standing.grantee};"
        raise Refused(
            f"The journal belongs to role {standing.owner}, and only its owner can migrate or uninstall it; log in as "
            f"{standing.owner}, or as a superuser run: {cure}"
        )
    _check_creation(state, standing)


def read_installer(connection: Connection, standing: SchemaStanding, role: str | None = None) -> str | None:
    """The owner of GitLab's tables, as SQL has its name, where `role` may not install a journal in its place.

    None where it may, as where somebody has prepared a schema. Without `role` it is about the one that is logged in.
    """
    tables = None if standing.has_schema else connection.row(TABLES_OWNER, role=role)
    return None if tables is None or tables.is_ours else str(tables.owner)


def how_to_install(connection: Connection) -> str:
    """The end of a message that there is no journal: what to type, and as whom if this role may not."""
    owner = read_installer(connection, read_standing(connection))
    return to_type(f"to install it, as role {owner}" if owner else "to install it", "journal.install")


def check_installable(connection: Connection) -> None:
    """Refuse what `install` would refuse where there is no journal yet, in a database that takes changes."""
    state = preflight.read_state(connection)
    standing = read_standing(connection)
    _check_owner(connection, state, standing)  # a privilege that does not help is not asked for
    _check_creation(state, standing)


def check_usable(connection: Connection) -> None:
    """Refuse where there is no journal that can be written to, for what is about its runs."""
    preflight.check_writable(connection, preflight.read_state(connection))
    try:
        check(connection)
    except JournalMissing:
        raise JournalMissing("The journal is not installed in this database, so there is no run.") from None
