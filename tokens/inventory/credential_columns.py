"""What is known of a credential that is no access token, as SQL: of a row `t`, and what is `own` to it."""

from collections.abc import Mapping
from dataclasses import dataclass

from tokens.gitlab.credentials import Credential
from tokens.gitlab.kind import TODAY, State
from tokens.gitlab.schema import Schema
from tokens.inventory.token_columns import moment

STATEMENT = """
    SELECT
      {columns}
    FROM public.{table} t
    CROSS JOIN LATERAL (
      SELECT
        CAST({ends_at} AS timestamptz) AS ends_at,
        CAST({used_at} AS timestamptz) AS used_at,
        {projects} AS projects,
        {groups} AS groups
    ) own
    WHERE {condition}
    {rest}
"""

OF_A_PERSON = {"account": "username", "created_by": "username", "owner_state": "state", "email": "email"}

LOOKED_UP = frozenset({"owner", *OF_A_PERSON})
"""Columns that come from the main database, wherever the rows are; nothing can be sorted by them."""

LISTS = frozenset({"scopes", "ips", "flags", "told"})


@dataclass(frozen=True)
class Words:
    """What a kind's rows say, as SQL in one release of GitLab."""

    credential: Credential
    schema: Schema

    moment = "own.ends_at"
    """When it stops working, with a time zone; a day's is 00:00 UTC."""

    day = "CAST(CAST(own.ends_at AT TIME ZONE 'UTC' AS date) AS text)"
    """The UTC date of that as text."""

    last_used = "own.used_at"

    def statement(self, columns: str, condition: str, rest: str) -> str:
        """What asks for these columns of the rows that fulfil a condition."""
        return STATEMENT.format(
            columns=columns,
            table=self.credential.table,
            ends_at=self._first(self.credential.expires),
            used_at=self._first(self.credential.last_used),
            projects=self._ids(self.credential.projects),
            groups=self._ids(self.credential.groups),
            condition=condition,
            rest=rest,
        ).rstrip()

    @property
    def user(self) -> str:
        return f"CAST({self._first(self.credential.user)} AS bigint)"

    @property
    def creator(self) -> str:
        return f"CAST({self._first(self.credential.creator)} AS bigint)"

    @property
    def works(self) -> str:
        return self.is_in(State.ACTIVE)

    def ends_within(self, days: int) -> str:
        """Whether it stops working before the end of the day (UTC) that is this number of days from today."""
        return f"{self.moment} < CAST({TODAY} + {days + 1} AS timestamptz)"

    def is_in(self, state: State) -> str:
        """Whether it is in this state; one that is revoked and expired counts as revoked."""
        revoked = "".join(self.credential.known(self.schema, self.credential.revoked))
        if state is State.REVOKED:
            return revoked or "false"
        ended = "own.ends_at <= now()" if state is State.EXPIRED else "(own.ends_at IS NULL OR own.ends_at > now())"
        return f"({revoked}) IS NOT TRUE AND {ended}" if revoked else ended

    @property
    def state(self) -> str:
        cases = " ".join(f"WHEN {self.is_in(state)} THEN '{state}'" for state in State)
        return f"CASE {cases} END"

    @property
    def text(self) -> Mapping[str, str]:
        """The columns of a list that are texts here, by their names."""
        return {
            "kind": f"CAST('{self.credential.kind}' AS text)",
            "name": f"CAST({self._first(self.credential.name)} AS text)",
            "state": f"CAST({self.state} AS text)",
            "description": f"CAST({self._first(self.credential.description)} AS text)",
        }

    def shown(self, name: str) -> str:
        """The column of a list with this name, if it is one that the kind has in its own tables."""
        if name == "id":
            return "t.id"
        if name == "expires_at":
            return self.day
        if name == "in_days":
            return f"CASE WHEN isfinite(own.ends_at) THEN CAST(own.ends_at AT TIME ZONE 'UTC' AS date) - {TODAY} END"
        if name == "last_used_at":
            return moment(f"{self.last_used} AT TIME ZONE 'UTC'")
        if name == "created_at":
            return moment("CAST(t.created_at AS timestamptz) AT TIME ZONE 'UTC'")
        if name == "scopes":
            words = (f"CASE WHEN t.{one} THEN '{one}' END" for one in self.credential.scopes)
            own = self.credential.known(self.schema, *words)
            return f"array_remove(CAST(ARRAY[{', '.join(own)}] AS text[]), NULL)"
        if name == "place_id":
            return "COALESCE(own.projects[1], own.groups[1])"
        return self.text.get(name, "CAST('{}' AS text[])" if name in LISTS else "NULL")

    def sorted_by(self, name: str) -> str:
        """What the rows of several kinds are compared by: a number, or text in an order that no locale changes."""
        if name in self.text:
            return f'({self.text[name]}) COLLATE "C"'
        if name == "id":
            return "CAST(t.id AS bigint)"
        if name == "place_id":
            return self.shown(name)
        moments = {
            "expires_at": self.moment,
            "in_days": self.moment,
            "last_used_at": self.last_used,
            "created_at": "CAST(t.created_at AS timestamptz)",
        }
        if name not in moments:
            return "CAST(NULL AS float8)"
        return f"CAST(extract(epoch FROM {moments[name]}) AS float8)"

    @property
    def without_place(self) -> str:
        return f"CAST({self._first(self.credential.without_place)} AS text)"

    def _first(self, *texts: str) -> str:
        known = self.credential.known(self.schema, *texts)
        return f"COALESCE({', '.join(known)})" if len(known) > 1 else "".join(known) or "NULL"

    def _ids(self, texts: tuple[str, ...]) -> str:
        arrays = [text for text in texts if text.startswith("ARRAY")]
        if arrays:
            return f"CAST({self._first(*arrays)} AS bigint[])"
        one = self._first(*texts)
        return "CAST('{}' AS bigint[])" if one == "NULL" else f"array_remove(ARRAY[CAST({one} AS bigint)], NULL)"
