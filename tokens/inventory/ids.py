"""What a selection names that comes to nothing, in sentences: ids, and options that no token fulfils."""

from tokens.change import notes
from tokens.database import Connection
from tokens.gitlab import preflight
from tokens.gitlab.needs import LIST
from tokens.gitlab.schema import Schema
from tokens.selection import Selection
from tokens.selection.unmatched import ids_without_effect, why_none

CHOSEN = """
    SELECT t.id
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    WHERE {condition}
"""


def notes_on_ids(connection: Connection, schema: Schema, selection: Selection) -> tuple[str, ...]:
    """Ids that no token has, and those that other options leave out: counted, and the first few named."""
    if selection.ids is None:
        return ()
    condition = selection.condition(schema)
    chosen = [row.id for row in connection.rows(CHOSEN.format(condition=condition.sql), **condition.parameters)]
    unknown, left_out = ids_without_effect(connection, selection, chosen)
    return tuple(note.text for note in notes.notes_on_ids(len(selection.ids), unknown, left_out))


def notes_on_selection(
    connection: Connection, schema: Schema, selection: Selection, *, nothing: bool
) -> tuple[str, ...]:
    """The same, and what else a count of the tokens of `selection` may lack.

    Rows that may be hidden from the role; and where `nothing` was counted, what none fulfils, kind and state apart:
    what was mistyped would count as none for ever.

    Raises:
        UsageError: a scope that no token has, and GitLab has never had.
    """
    on_ids = notes_on_ids(connection, schema, selection)
    hidden = preflight.hidden_rows(connection, LIST)
    why = why_none(connection, schema, selection) if nothing and not selection.others else None
    return (*on_ids, *filter(None, (hidden, why)))
