"""What holds for everybody who writes into the journal, whatever their configuration says, and who has set it.

The last row of a name counts, and the rows before it stay: who turned something off is on record, too.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from tokens.call import to_type
from tokens.change.notes import allowing
from tokens.change.plan import RunKind
from tokens.database import Connection
from tokens.errors import Refused
from tokens.journal import chain, damage
from tokens.journal.damage import moment_of, origin_of
from tokens.origin import Origin, person

FOUR_EYES = "four_eyes"
PRUNED = "pruned"

SETTINGS = """
    SELECT
      s.value, s.set_by, s.because,
      to_char(s.set_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"+00:00"') AS set_at
    FROM token_tasks.settings s
    WHERE s.name = %(name)s
    ORDER BY s.id DESC
"""

SET = """
    INSERT INTO token_tasks.settings (name, value, set_by, because)
    VALUES (%(name)s, CAST(%(value)s AS jsonb), CAST(%(set_by)s AS jsonb), %(because)s)
    RETURNING id
"""

PLANNED_BY = "SELECT r.planned_by, r.kind FROM token_tasks.runs r WHERE r.id = %(run)s"


class FourEyes(Refused):
    """Two people are needed, and this is one."""


@dataclass(frozen=True)
class Setting:
    """That four eyes were turned on or off: by whom, when (ISO 8601 in UTC) and why."""

    on: bool
    origin: Mapping[str, str]
    set_at: str
    because: str | None


def read_four_eyes(connection: Connection) -> tuple[Setting, ...]:
    """Every time that four eyes were turned on or off, the last first; none where they never were."""
    with damage.reading("The setting of four eyes"):
        return tuple(
            Setting(row.value is True, origin_of(row.set_by), moment_of(row.set_at), row.because)
            for row in connection.rows(SETTINGS, name=FOUR_EYES)
        )


def set_four_eyes(connection: Connection, *, on: bool, origin: Origin, because: str | None) -> None:
    """Turn four eyes on or off for everybody, in the open transaction, with its record."""
    _set(connection, FOUR_EYES, on, origin, because)


def note_pruning(connection: Connection, *, before: date, runs: int, origin: Origin) -> None:
    """Keep who has forgotten how many runs, from before which day, in the open transaction."""
    _set(connection, PRUNED, {"before": str(before), "runs": runs}, origin, None)


def _set(connection: Connection, name: str, value: object, origin: Origin, because: str | None) -> None:
    connection.execute(chain.SERIALIZE)
    set_by = json.dumps(origin.as_dict())
    row = connection.row(SET, name=name, value=json.dumps(value), set_by=set_by, because=because)
    chain.enter_journal(connection, settings=[row.id])


def demands_four_eyes(connection: Connection) -> bool:
    """Whether who planned a run may not carry it out, by the journal."""
    return any(one.on for one in read_four_eyes(connection)[:1])


def check_alone(connection: Connection, kind: RunKind, *, four_eyes: bool = False) -> None:
    """Refuse a change that one person plans and carries out, where that takes two.

    `four_eyes` is what the configuration demands beside the journal.

    Raises:
        FourEyes: with what to do instead.
    """
    if demands_four_eyes(connection):
        raise alone(kind)
    if four_eyes:
        raise alone(kind, by_configuration=True)


def check_planner(
    connection: Connection, run: int, origin: Origin, *, four_eyes: bool = False, allow: Sequence[str] = ()
) -> bool:
    """Refuse a run whose planner wants to carry it out, or to go on with it, where that takes two.

    `allow` are the words of guards that somebody else has to give. Returns whether it takes two.

    Raises:
        FourEyes: somebody else has to.
    """
    if not (four_eyes or demands_four_eyes(connection)):
        return False
    planned = connection.row(PLANNED_BY, run=run)
    if planned is None:
        return True
    with damage.reading(f"Run {run}"):
        planner = person(origin_of(planned.planned_by))
    if planner == person(origin.as_dict()):
        line = to_type("for another person", "apply", "--run", run, *allowing(allow))
        if planned.kind == RunKind.ROTATE:
            line = to_type("for another person", "rotate", "--resume", run)
        raise FourEyes(
            f"Two people are needed here: {planner} planned run {run}, so somebody else has to carry it out.{line}"
        )
    return True


def alone(kind: RunKind, *, by_configuration: bool = False) -> FourEyes:
    """What is said to one person who wants to plan a run of this kind and to carry it out.

    `by_configuration` is whether that takes two by the configuration alone, which no task turns off.
    """
    needed = "Two people are needed here, one to plan a change and one to carry it out: nothing was changed."
    match kind:
        case RunKind.ROTATE:
            stored = "The plan of a rotation cannot be stored for somebody else"
            if by_configuration:
                return FourEyes(f"{needed} {stored}, and tokens.four_eyes in Invoke's configuration demands it.")
            return FourEyes(
                f"{needed} {stored}."
                + to_type("to allow one person again, which is recorded", "journal.four-eyes", "--off")
            )
        case RunKind.EDIT:
            return FourEyes(f"{needed} Use extend or remove with --plan, then another person applies the plan.")
    return FourEyes(
        f"{needed} Give the same command with --plan in place of --yes or --no-journal, then another person applies "
        "the plan."
    )
