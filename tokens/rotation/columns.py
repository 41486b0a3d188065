"""What becomes of each column of a token in its successor: copied, made again, or left at the table's default.

After GitLab's PersonalAccessTokens::RotateService, 16.0 to 19.x. A column that is none of these belongs to a release
that this version of the tool does not know.
"""

from collections.abc import Sequence

from tokens.database import Connection
from tokens.errors import Refused
from tokens.gitlab.kind import HUMAN, PROJECT_BOT, SERVICE_ACCOUNT
from tokens.gitlab.needs import ROTATE
from tokens.gitlab.notices import FLAGS, TIMES
from tokens.gitlab.schema import TOKENS, USER_DETAILS, Schema

INSERTED = ROTATE.inserts[TOKENS]
"""The columns that a successor's INSERT names; those for which nothing else is said here are copied."""

# GitLab 18.3 and later fills it in each new token: a bot's is the group at the top of the namespace it was made for, a
# service account's that at the top of the group that made it, a person's the enterprise. Older rows have NULL, and
# GitLab's own repair of those passes by a row that has a user_type.
TOP_GROUP = """(
        SELECT top.id
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.{column}
        JOIN public.namespaces top ON top.id = COALESCE(n.traversal_ids[1], n.id) AND top.type = 'Group'
        WHERE d.user_id = u.id
      )"""
ENTERPRISE = """(
        SELECT n.id
        FROM public.user_details d
        JOIN public.namespaces n ON n.id = d.{column}
        WHERE d.user_id = u.id
      )"""
GROUPS = (
    (PROJECT_BOT, "bot_namespace_id", TOP_GROUP),
    (SERVICE_ACCOUNT, "provisioned_by_group_id", TOP_GROUP),
    (HUMAN, "enterprise_group_id", ENTERPRISE),
)

# Of a token `t` and the owner `u` of its successor, whose group comes from `_group`; the copy of user_type in the old
# row may be missing. GitLab does not learn what another owner's token replaces: see `tokens.rotation.new_owner`.
GIVEN = {
    "user_id": "u.id",
    "user_type": "u.user_type",
    "expires_at": "CAST(%(expires_at)s AS date)",
    "token_digest": "CAST(%(digest)s AS text)",
    "previous_personal_access_token_id": "CASE WHEN u.id = t.user_id THEN t.id END",
    "created_at": "now() AT TIME ZONE 'UTC'",
    "updated_at": "now() AT TIME ZONE 'UTC'",
}

DEFAULTED = ("id", "revoked", "last_used_at", *FLAGS, *TIMES)

KNOWN = (*INSERTED, *DEFAULTED)

UNKNOWN = """
    SELECT
      a.attname AS name,
      quote_ident(a.attname) AS identifier,
      COALESCE(pg_get_expr(d.adbin, d.adrelid), 'NULL') AS default_value
    FROM pg_catalog.pg_attribute a
    JOIN pg_catalog.pg_class c ON c.oid = a.attrelid AND c.relname = %(table)s
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace AND n.nspname = 'public'
    LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attnum > 0
      AND NOT a.attisdropped
      AND a.attidentity = ''
      AND a.attgenerated = ''
      AND a.attname <> ALL (CAST(%(known)s AS text[]))
    ORDER BY a.attnum
"""

# As text, because not every type can be compared.
NOT_DEFAULT = """
    SELECT t.id
    FROM public.personal_access_tokens t
    WHERE t.id = ANY(CAST(%(ids)s AS bigint[]))
      AND CAST(t.{identifier} AS text) IS DISTINCT FROM CAST({default} AS text)
    ORDER BY t.id
    LIMIT 1
"""


def of_successor(schema: Schema) -> dict[str, str]:
    """The columns that a successor's INSERT names in this release, and the SQL of each value."""
    given = GIVEN | {"group_id": _group(schema)}
    return {name: given.get(name, f"t.{name}") for name in INSERTED if schema.has(TOKENS, name)}


def _group(schema: Schema) -> str:
    """The group of the owner `u` as SQL; the old token's where this release does not have what it comes from."""
    cases = [
        f"WHEN COALESCE(u.user_type, {HUMAN}) = {kind} "
        f"THEN {sql.format(column=column) if schema.has(USER_DETAILS, column) else 't.group_id'}"
        for kind, column, sql in GROUPS
    ]
    return "\n        ".join(["CASE", *cases, "END"])


def check_known(connection: Connection, ids: Sequence[int]) -> None:
    """Refuse tokens that have something in a column that this version of the tool does not know.

    A successor has the default there, which need not mean the same: a restriction may be lost.
    """
    for column in connection.rows(UNKNOWN, table=TOKENS, known=list(KNOWN)):
        statement = NOT_DEFAULT.format(
            identifier=column.identifier.replace("%", "%%"), default=column.default_value.replace("%", "%%")
        )
        row = connection.row(statement, ids=list(ids))
        if row is not None:
            raise Refused(
                f'GitLab\'s table {TOKENS} has a column "{column.name}" that this version of the tool does not know, '
                f"and token {row.id} has a value in it, so a successor might not be the same: use a newer version of "
                "the tool, or rotate this token in GitLab."
            )
