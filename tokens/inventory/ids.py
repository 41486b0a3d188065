"""What becomes of the ids that a selection names: those that no token has, and those that other options leave out."""

from tokens.change import notes
from tokens.database import Connection
from tokens.gitlab.schema import Schema
from tokens.selection import Selection
from tokens.unmatched import ids_without_effect

CHOSEN = """
    SELECT t.id
    FROM public.personal_access_tokens t
    LEFT JOIN public.users u ON u.id = t.user_id
    WHERE {condition}
"""


def notes_on_ids(connection: Connection, schema: Schema, selection: Selection) -> tuple[str, ...]:
    """Sentences about them, counted and the first few named; none where the selection names no ids."""
    if selection.ids is None:
        return ()
    condition = selection.condition(schema)
    chosen = [row.id for row in connection.rows(CHOSEN.format(condition=condition.sql), **condition.parameters)]
    unknown, left_out = ids_without_effect(connection, selection, chosen)
    return tuple(note.text for note in notes.notes_on_ids(len(selection.ids), unknown, left_out))
