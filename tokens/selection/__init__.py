"""Which tokens a change is about: pure values that become a SQL condition."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Self

from tokens.counts import counted
from tokens.database import array_literal
from tokens.errors import UsageError, shortened
from tokens.gitlab import places
from tokens.gitlab.condition import Condition, Terms, pattern
from tokens.gitlab.credentials import OtherKind
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.kind import STATE_CONDITIONS, STORED_STATES, Kind, OwnerState, State, kind_expression
from tokens.gitlab.schema import Schema
from tokens.gitlab.scopes import DEFAULT, EMPTY_SCOPES, scope_item
from tokens.gitlab.settings import beyond_maximum

WITHOUT_MEMBERSHIP = """(
    u.user_type = 6
    AND NOT EXISTS (SELECT FROM public.members m WHERE m.user_id = t.user_id AND m.requested_at IS NULL)
  )"""

EVERY_KIND = frozenset(Kind)
EVERY_STATE = frozenset(State)

FLAGS = ("never_used", "beyond_maximum", "no_membership")

# In this order; JSON in a database keeps none.
CRITERIA = (
    "expires",
    "kind",
    "state",
    "user",
    "group",
    "project",
    "name",
    "scope",
    "last_used_before",
    "last_used_after",
    "created_before",
    "created_after",
    "owner_state",
    "never_used",
    "beyond_maximum",
    "no_membership",
    "ids",
    "leave_out",
)


@dataclass(frozen=True)
class DateRange:
    """The days from `first` to `last`, both included.

    `from_now` is whether that is all from this moment on: a token of today is dead already, but something that ends at
    a moment may end later today.
    """

    first: ExpirationDate
    last: ExpirationDate
    from_now: bool = field(default=False, compare=False, kw_only=True)

    def __post_init__(self) -> None:
        """Raises UsageError for days that end before they begin, and for what is no day."""
        for day in (self.first, self.last):
            if not isinstance(day, ExpirationDate):
                raise UsageError(f"DateRange takes two of ExpirationDate, not {shortened(repr(day))}.")
        if self.last < self.first:
            raise UsageError(f"{self.first}..{self.last} ends before it begins.")

    def __str__(self) -> str:
        if self.first == self.last:
            return str(self.first)
        if not (self.first.is_finite or self.last.is_finite):
            return "with a date"
        first, last = (str(day) if day.is_finite else "" for day in (self.first, self.last))
        return f"{first}..{last}"


@dataclass(frozen=True)
class Selection:
    """The tokens that a person named, by what all of them have in common.

    Attributes:
        expires: any of these days; None in it is "never expires", and without any the date does not matter.
        kinds: None is every kind but impersonation.
        states: any of these.
        users, groups, projects: owned by any of these users, or belonging to any of these groups, what lies below them,
            or these projects; usernames and full paths, whose case does not matter. A bot belongs where it has a
            membership, or had one; a service account where it was provisioned; people's own tokens belong nowhere.
        name: the whole name, in which `*` is any text and `?` a character; its case matters.
        scopes: all of these. GitLab treats a token without any as one with `api`.
        last_used_before, created_before: before the first moment of this day in UTC; a token that was never used was
            last used before any day.
        last_used_after, created_after: from the first moment of this day in UTC on.
        owner_states: whose owner is in any of these.
        never_used: that GitLab has never seen used.
        beyond_maximum: whose date, or lack of one, is beyond the instance's maximum lifetime of today; none where it
            sets no maximum.
        no_membership: of bots of projects and groups that are no member of anything, which reach nothing.
        ids: one of these.
        superseded: whether those are meant, too, that a rotation has replaced and that the change would prolong. No
            condition on a token alone, so the maker of the plan sees to it.
        others: credentials of these kinds, too, which are no tokens and are only read.
    """

    expires: tuple[DateRange | None, ...]
    kinds: frozenset[Kind] | None = None
    states: frozenset[State] = frozenset({State.ACTIVE})
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()
    name: str | None = None
    scopes: tuple[str, ...] = ()
    last_used_before: date | None = None
    last_used_after: date | None = None
    created_before: date | None = None
    created_after: date | None = None
    owner_states: tuple[OwnerState, ...] = ()
    never_used: bool = False
    beyond_maximum: bool = False
    no_membership: bool = False
    ids: tuple[int, ...] | None = None
    superseded: bool = True
    others: frozenset[OtherKind] = frozenset()

    def __post_init__(self) -> None:
        """Raises UsageError for what would choose nothing, or fail in the database, and can be no choice."""
        for name, wanted in (("kinds", Kind), ("states", State), ("owner_states", OwnerState), ("others", OtherKind)):
            given = getattr(self, name)
            several = (
                isinstance(given, Collection)
                and not isinstance(given, str)
                and all(isinstance(one, wanted) for one in given)
            )
            if given is not None and not several:
                raise UsageError(f"{name} takes several of {wanted.__name__}, not {shortened(repr(given))}.")
            if given is not None and name != "owner_states":
                object.__setattr__(self, name, frozenset(given))  # a caller without mypy may have them in a list
        for name in ("last_used_before", "last_used_after", "created_before", "created_after"):
            day = getattr(self, name)
            if day is not None and (isinstance(day, datetime) or not isinstance(day, date)):
                raise UsageError(f"{name} takes a date, not {shortened(repr(day))}.")
        days = isinstance(self.expires, Collection) and not isinstance(self.expires, str)
        if not days or not all(one is None or isinstance(one, DateRange) for one in self.expires):
            raise UsageError(f"expires takes several of DateRange or None, not {shortened(repr(self.expires))}.")
        for name in ("users", "groups", "projects", "scopes"):
            given = getattr(self, name)
            texts = isinstance(given, Collection) and not isinstance(given, str)
            if not texts or not all(isinstance(one, str) for one in given):
                raise UsageError(f"{name} takes several texts, not {shortened(repr(given))}.")
        if self.name is not None and not isinstance(self.name, str):
            raise UsageError(f"name takes a text, not {shortened(repr(self.name))}.")
        if self.ids is not None:
            _check_ids(self.ids)
        every_text = (self.name or "", *self.users, *self.groups, *self.projects, *self.scopes)
        if any("\0" in text for text in every_text):
            raise UsageError("No name has the character NUL, which PostgreSQL cannot hold.")

    @classmethod
    def every(cls, expires_at: ExpirationDate) -> Self:
        """All tokens of one date, of any kind, revoked and expired ones too, as GitLab's `edit` takes them."""
        return cls((DateRange(expires_at, expires_at),), kinds=EVERY_KIND, states=EVERY_STATE)

    def condition(self, schema: Schema) -> Condition:
        """The condition that these tokens fulfil."""
        terms = self._scope(schema)
        if self.kinds is None:
            terms.add("NOT t.impersonation")
        elif self.kinds != EVERY_KIND:
            kinds = ", ".join(f"'{kind}'" for kind in sorted(self.kinds))
            terms.add(f"{kind_expression(schema).strip()} IN ({kinds})" if kinds else "FALSE")
        if self.states != EVERY_STATE:
            terms.add_any([STATE_CONDITIONS[state] for state in sorted(self.states)])
        return terms.all()

    def scope(self, schema: Schema) -> Condition:
        """The condition without kinds and states: what is left out for one of these lies in here, too."""
        return self._scope(schema).all()

    def selects(self, kind: Kind, state: State) -> bool:
        """Whether tokens of `scope` that are of this kind and in this state are meant."""
        kinds = EVERY_KIND - {Kind.IMPERSONATION} if self.kinds is None else self.kinds
        return kind in kinds and state in self.states

    def as_dict(self) -> dict[str, object]:
        """What was named, by the names of the options, for JSON; of ids only how many, as there may be 100,000s."""
        days = {
            option: day.isoformat()
            for option, day in (
                ("last_used_before", self.last_used_before),
                ("last_used_after", self.last_used_after),
                ("created_before", self.created_before),
                ("created_after", self.created_after),
            )
            if day is not None
        }
        named: dict[str, object] = {
            "expires": [_shown(expires) for expires in self.expires],
            "kind": None if self.kinds is None and not self.others else self.kinds_meant,
            "state": [state.value for state in State if state in self.states],
            "user": list(self.users),
            "group": list(self.groups),
            "project": list(self.projects),
            "name": self.name and shortened(self.name),  # it may be an address, given to the wrong option
            "scope": list(self.scopes),
            **days,
            "owner_state": [state.value for state in self.owner_states],
            **{name: True for name in FLAGS if getattr(self, name)},
            "ids": None if self.ids is None else len(self.ids),
            "leave_out": [] if self.superseded else ["superseded"],
        }
        return {option: value for option, value in named.items() if value is not None and value != []}

    @property
    def kinds_meant(self) -> list[str]:
        """The kinds that are chosen by their names for `--kind`, also where none was named."""
        kinds = EVERY_KIND - {Kind.IMPERSONATION} if self.kinds is None else self.kinds
        return [
            *(kind.value for kind in Kind if kind in kinds),
            *(kind.value for kind in OtherKind if kind in self.others),
        ]

    def places(self, schema: Schema) -> Condition:
        """The statement for the groups and projects that are named, and all below them: `source_type` and `id`."""
        return places.chosen(schema, self.groups, self.projects)

    def __str__(self) -> str:
        """One line, such as `expires 2024-06-15..2024-06-20; kind project, group; state active`."""
        return described(self.as_dict())

    def _scope(self, schema: Schema) -> Terms:
        terms = Terms()
        if self.expires:
            terms.add_any(list(self._expires(terms)))
        if self.ids is not None:
            # An array literal, because the driver's own conversion of a list costs ten times as much.
            ids = terms.value("ids", array_literal(self.ids), "bigint[]")
            terms.add(f"t.id IN (SELECT unnest({ids}))")
        if self.users or self.groups or self.projects:
            owners = places.owners(schema, terms, users=self.users, groups=self.groups, projects=self.projects)
            terms.add(f"t.user_id IN (\n    {owners}\n  )")
        self._add_times(terms)
        if self.owner_states:
            stored = sorted(value for state in self.owner_states for value in STORED_STATES[state])
            terms.add(f"u.state IN ({', '.join(repr(value) for value in stored)})")
        if self.never_used:
            terms.add("t.last_used_at IS NULL")
        if self.beyond_maximum:
            terms.add(beyond_maximum(schema))
        if self.no_membership:
            terms.add(WITHOUT_MEMBERSHIP)
        if self.name is not None:
            terms.add(f"t.name LIKE {terms.value('name', pattern(self.name), 'text')}")
        for number, scope in enumerate(self.scopes, 1):
            item = terms.value(f"scope_{number}", scope_item(scope), "text")
            has = [f"t.scopes ~ {item}"]
            if scope == DEFAULT:
                has.append(f"t.scopes ~ {terms.value('no_scopes', EMPTY_SCOPES, 'text')}")
            terms.add_any(has)
        return terms

    def _expires(self, terms: Terms) -> Iterator[str]:
        for number, expires in enumerate(self.expires, 1):
            if expires is None:
                yield "t.expires_at IS NULL"
                continue
            first = terms.value(f"first_{number}", expires.first.literal, "date")
            if expires.first == expires.last:
                yield f"t.expires_at = {first}"
            else:
                yield f"t.expires_at BETWEEN {first} AND {terms.value(f'last_{number}', expires.last.literal, 'date')}"

    def _add_times(self, terms: Terms) -> None:
        # created_at is UTC without saying so, last_used_at has a time zone.
        if self.last_used_before is not None:
            moment = terms.value("last_used_before", f"{self.last_used_before} 00:00+00", "timestamptz")
            terms.add_any(["t.last_used_at IS NULL", f"t.last_used_at < {moment}"])
        if self.last_used_after is not None:
            moment = terms.value("last_used_after", f"{self.last_used_after} 00:00+00", "timestamptz")
            terms.add(f"t.last_used_at >= {moment}")
        if self.created_before is not None:
            terms.add(f"t.created_at < {terms.value('created_before', str(self.created_before), 'timestamp')}")
        if self.created_after is not None:
            terms.add(f"t.created_at >= {terms.value('created_after', str(self.created_after), 'timestamp')}")


def _check_ids(ids: object) -> None:
    """Raise UsageError for what can be the ids of no tokens, which are numbers of 64 bits."""
    if not isinstance(ids, Collection) or isinstance(ids, str | bytes):
        raise UsageError(f"ids takes several whole numbers, not {shortened(repr(ids))}.")
    for one in ids:
        if isinstance(one, bool) or not isinstance(one, int) or not -(2**63) <= one < 2**63:
            raise UsageError(f"ids takes whole numbers of 64 bits, not {shortened(repr(one))}.")


EVERYTHING = Selection((), kinds=EVERY_KIND, states=EVERY_STATE)


def refuse_everything(selection: Selection) -> None:
    """Refuse to revoke what nobody has chosen.

    Raises:
        UsageError: nothing is named but that tokens work.
    """
    if selection.as_dict() == Selection(()).as_dict():
        raise UsageError(
            "Choose the tokens to revoke, by --ids, --user, --never-used or another option about tokens (see --help): "
            "without one it would be all of them."
        )


def refuse_others(kinds: Iterable[str]) -> None:
    """Refuse to change or replace what is no access token.

    Raises:
        UsageError: there is such a kind.
    """
    words = ",".join(kinds)
    if words:
        raise UsageError(
            f"--kind {words} is for list, forecast, breakdown, check and report alone: no task changes or replaces "
            f"what is no access token; there are {', '.join(Kind)}."
        )


def described(named: Mapping[str, Any]) -> str:
    """What `as_dict` has kept, in one line such as `expires 2024-06-15..2024-06-20; kind group; state active`."""
    return "; ".join(_criterion(option, named[option]) for option in CRITERIA if option in named)


def _criterion(option: str, value: Any) -> str:
    every: dict[str, set[str]] = {"kind": set(EVERY_KIND), "state": set(EVERY_STATE)}
    if option == "ids":
        return counted(value, "id")
    if value is True:
        return option.replace("_", " ")
    if option == "name":
        return f'name "{value}"'
    if isinstance(value, list):
        value = "any" if set(value) == every.get(option) else ", ".join(map(str, value))
    return f"{option.replace('_', ' ')} {value}"


def _shown(expires: DateRange | None) -> str:
    return "none" if expires is None else str(expires)
