"""What a person should know about a change before saying yes: decided here, from facts alone."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from tokens.change.change import Move
from tokens.change.facts import Facts
from tokens.counts import counted, first_few, them
from tokens.errors import Refused
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.inactive_bots import FAULTY, CleanUp, what_it_does
from tokens.gitlab.membership import MembershipRule
from tokens.gitlab.settings import Policy

IDS_SHOWN = 5


class Concern(Enum):
    """Why a change deserves a second look, in the order in which notes are shown."""

    USED = "used"
    MAINTENANCE = "maintenance"
    REVIVING = "reviving"
    USED_LATELY = "used-lately"
    PAST = "past"
    SAME = "same"
    EARLIER = "earlier"
    DATED = "dated"
    BEYOND_MAXIMUM = "beyond-maximum"
    SUPERSEDED = "superseded"
    REVIVES = "revives"
    REQUIRES_EXPIRY = "requires-expiry"
    MEMBERSHIPS = "memberships"
    NOTICES = "notices"
    DOOMED = "doomed"
    DOOMED_ANYWAY = "doomed-anyway"
    LAST_OF_BOT = "last-of-bot"
    NO_SUCCESSOR = "no-successor"
    IN_GRACE = "in-grace"
    BLOCKED = "blocked"
    MIGRATED = "migrated"
    UNKNOWN_IDS = "unknown-ids"
    LEFT_OUT_IDS = "left-out-ids"
    LEFT_OUT_SUPERSEDED = "left-out-superseded"
    CHANGED_SINCE = "changed-since"
    OLD_PLAN = "old-plan"
    NOTHING_SELECTED = "nothing-selected"
    HIDDEN_ROWS = "hidden-rows"
    UNKNOWN_SUPERSEDED = "unknown-superseded"

    @property
    def guard(self) -> str | None:
        """The word with which `--allow` lets the change through, None for a concern that refuses nothing."""
        return self.value if self in GUARDS else None


# What harms without a way back, or what nobody asks for on purpose.
GUARDS = (
    Concern.MAINTENANCE,
    Concern.REVIVING,
    Concern.PAST,
    Concern.EARLIER,
    Concern.BEYOND_MAXIMUM,
    Concern.SUPERSEDED,
    Concern.DOOMED,
    Concern.OLD_PLAN,
)


@dataclass(frozen=True)
class Note:
    """One concern, its sentence, and how many tokens it is about (for memberships and doomed bots: how many bots).

    `ids` are those of the tokens where a person has to know which they are.
    """

    concern: Concern
    text: str
    tokens: int
    ids: tuple[int, ...] = ()


def notes(
    moves: Sequence[Move],
    facts: Facts,
    policy: Policy,
    *,
    memberships: MembershipRule | None,
    notices: bool,
    clean_up: CleanUp | None,
    options: bool = True,
    asked: bool = False,
) -> tuple[Note, ...]:
    """The notes on a change; none for one to a date that is later, to come and within the policy, on clean data.

    Args:
        moves: how many tokens go from which date to which.
        facts: about the same tokens.
        policy: the instance's.
        memberships: how memberships that end too early are moved, None if they are kept.
        notices: whether notices are re-armed.
        clean_up: how this release cleans up inactive bots, None if it does not.
        options: whether the sentences name the command line's options.
        asked: whether a person is asked about memberships and notices afterwards.
    """
    moving = [move for move in moves if move.tokens]
    found = [
        maintenance(moving, policy),
        past(moving, policy),
        *_on_dates(moving, policy),
        superseded_note(facts.superseded, options=options),
        _revives(facts, options=options),
        _requires_expiry(moving, facts, policy),
        _memberships(moving, facts, memberships, options=options, asked=asked),
        _notices(moving, facts, rearmed=notices, options=options, asked=asked),
        doomed(facts.doomed_bots, clean_up),
        _doomed_anyway(facts, policy, clean_up),
        _blocked(facts),
        _migrated(facts),
    ]
    return tuple(note for note in found if note.tokens)


def notes_on_ids(
    named: int, unknown: Sequence[int], left_out: Sequence[int], *, revokes: bool = False
) -> Iterator[Note]:
    """The notes on ids of `named` ones that no token has, and on those of tokens that other options leave out.

    `revokes` is whether the tokens are to be revoked: what is so already is left out, too.
    """
    of = f"of {named:,} ids" if named > 1 else "id"
    if unknown:
        text = f"{len(unknown):,} {of} {'is' if len(unknown) == 1 else 'are'} no token's: {first_of(unknown)}."
        yield Note(Concern.UNKNOWN_IDS, text, len(unknown), tuple(unknown))
    if left_out:
        are = "is of a token" if len(left_out) == 1 else "are of tokens"
        revoked = " revoked already, or" if revokes else ""
        text = f"{len(left_out):,} {of} {are}{revoked} that the other options leave out: {first_of(left_out)}."
        yield Note(Concern.LEFT_OUT_IDS, text, len(left_out), tuple(left_out))


def guards(notes: Iterable[Note]) -> tuple[str, ...]:
    """The words that `--allow` must have for a change with these notes, in their order."""
    return tuple(dict.fromkeys(note.concern.guard for note in notes if note.concern.guard))


def allowing(words: Sequence[str]) -> tuple[str, ...]:
    """What a command line has for guards with these words."""
    return ("--allow", ",".join(words)) if words else ()


def refuse_guarded(words: Sequence[str], allow: Collection[str], leave_out: str = "") -> None:
    """Refuse what guards forbid, by their words, and `allow` does not name.

    What it says to type has those that `allow` names already, too: typed in place of the first, it is enough.

    Raises:
        Refused: nothing has been changed.
    """
    forbidden = [word for word in words if word not in allow]
    if forbidden:
        without = f"to leave out what a rotation has replaced {leave_out}, " if "superseded" in forbidden else ""
        raise Refused(
            f"Refused because of {' and '.join(forbidden)} (see the notes above); {without}to do it all the same use "
            f"--allow {','.join(words)}"
        )


def maintenance(moves: Sequence[Move], policy: Policy) -> Note:
    """The note on GitLab's maintenance mode; of no tokens where it is off."""
    text = "GitLab is in maintenance mode and takes no changes from people; a failover may be under way."
    return Note(Concern.MAINTENANCE, text, _count(moves, lambda _: policy.maintenance))


def past(moves: Sequence[Move], policy: Policy) -> Note:
    """The note on new dates that are not in the future; of no tokens where all are."""
    tokens = _count(moves, lambda move: move.new is not None and move.new <= policy.today)
    if len(moves) == 1:
        new = moves[0].new.beside(policy.today) if moves[0].new else ""
        text = f"{new} is not in the future in UTC: these tokens will not work."
    else:
        in_past = f"not in the future (today is {policy.today} UTC)"
        text = f"{counted(tokens, 'token')} will not work with a date that is {in_past}."
    return Note(Concern.PAST, text, tokens)


def _on_dates(moves: Sequence[Move], policy: Policy) -> Iterator[Note]:
    """What else the dates alone say: about a single move with its dates, about several with counts."""
    same = _count(moves, lambda move: move.new == move.old)
    earlier = _count(moves, lambda move: move.old is not None and move.new is not None and move.new < move.old)
    dated = _count(moves, lambda move: move.old is None and move.new is not None)
    last = policy.last_date
    beyond = _count(moves, lambda move: last is not None and (move.new is None or move.new > last))

    def beside(day: ExpirationDate | None) -> str:
        return "" if day is None else day.beside(policy.today)

    maximum = (
        f"beyond the instance's maximum lifetime of {policy.maximum_lifetime} days, today until {beside(last)}: "
        "GitLab revokes such tokens when that setting is next changed."
    )
    if len(moves) == 1:
        old, new = beside(moves[0].old), beside(moves[0].new)
        yield Note(Concern.SAME, _same(new), same)
        yield Note(Concern.EARLIER, f"{new} is before {old}: these tokens will expire earlier than now.", earlier)
        yield Note(Concern.DATED, f"These tokens never expire now: on {new} they will.", dated)
        yield Note(Concern.BEYOND_MAXIMUM, f"{new or 'To have no expiration date'} is {maximum}", beyond)
    else:
        yield Note(Concern.SAME, f"{counted(same, 'token has its', 'tokens have their')} new date already.", same)
        yield Note(Concern.EARLIER, f"{counted(earlier, 'token')} will expire earlier than now.", earlier)
        never = counted(dated, "token never expires", "tokens never expire")
        yield Note(Concern.DATED, f"{never} now, but will with the new date.", dated)
        yield Note(Concern.BEYOND_MAXIMUM, f"{counted(beyond, 'token')} {_become(moves)} {maximum}", beyond)


def _become(moves: Sequence[Move]) -> str:
    """What several moves beyond the maximum make of tokens."""
    if all(move.new is None for move in moves):
        return "will have no expiration date, which is"
    return "will have a date, or none," if any(move.new is None for move in moves) else "will have a date"


def _same(new: str) -> str:
    if not new:
        return "These tokens have no expiration date already."
    return f"{new} is the date that these tokens have already."


def superseded_note(ids: Sequence[int], *, options: bool = True) -> Note:
    """The note on tokens that a rotation has replaced and that a change would prolong."""
    one = len(ids) == 1
    aside = _aside(f"--leave-out superseded leaves {'it' if one else 'them'} out", options)
    replaced = counted(len(ids), "token was", "tokens were")
    successors = "its successor is" if one else "their successors are"
    outcome = "the old one would live on beside it" if one else "the old ones would live on beside them"
    text = f"{replaced} replaced by a rotation, and {successors} not revoked: {outcome}{aside}: {first_of(ids)}."
    return Note(Concern.SUPERSEDED, text, len(ids), tuple(ids))


def left_out_superseded(ids: Sequence[int]) -> Note:
    """The note on those of them that a person wants to be left out."""
    tokens = counted(len(ids), "token that a rotation has replaced is", "tokens that a rotation has replaced are")
    text = f"{tokens} left out: {first_of(ids)}."
    return Note(Concern.LEFT_OUT_SUPERSEDED, text, len(ids), tuple(ids))


def changed_since(ids: Sequence[int]) -> Note:
    """The note on those of a stored plan that are not as they were when it was made."""
    were = counted(len(ids), "token was changed since the plan, or is", "tokens were changed since the plan, or are")
    return Note(Concern.CHANGED_SINCE, f"{were} gone, and left alone: {first_of(ids)}.", len(ids), tuple(ids))


def old_plan(tokens: int, hours: int) -> Note:
    """The note on a stored plan that nobody has begun for more than `hours`."""
    return Note(Concern.OLD_PLAN, f"The plan is older than {hours} hours, and its tokens have lived on since.", tokens)


def _revives(facts: Facts, *, options: bool) -> Note:
    aside = _aside("--state active leaves them out", options)
    text = f"{counted(facts.reviving, 'token has', 'tokens have')} expired and would become valid again{aside}."
    return Note(Concern.REVIVES, text, facts.reviving)


def _requires_expiry(moves: Sequence[Move], facts: Facts, policy: Policy) -> Note:
    endless = _count(moves, lambda move: move.new is None)
    # Only a removal leaves tokens without a date, and then all of them.
    of_service_accounts = min(facts.service_accounts, endless)
    tokens = 0
    if policy.requires_expiry:
        tokens += endless - of_service_accounts
    if policy.service_accounts_require_expiry:
        tokens += of_service_accounts
    text = f"{counted(tokens, 'token')} will have no expiration date, which this instance requires of new ones."
    return Note(Concern.REQUIRES_EXPIRY, text, tokens)


def _memberships(
    moves: Sequence[Move], facts: Facts, rule: MembershipRule | None, *, options: bool, asked: bool
) -> Note:
    bots = facts.bots_ending_before
    endless = all(move.new is None for move in moves)
    ends = "that ends" if endless else "that ends before the new date"
    if rule is None:
        will, outcome = "will", _aside("leave out --memberships keep to move it", options)
    else:
        moved = "removed" if endless or rule is MembershipRule.FOREVER else "moved"
        will, outcome = "would", f": the end is {moved}, too{_aside('--memberships keep leaves it', options)}"
        if asked:
            will, outcome = "will", f", unless the end is {moved}, too"
    have = counted(bots, "bot has", "bots have")
    text = f"{have} a membership {ends}, and GitLab {will} delete bot and token at its end{outcome}."
    return Note(Concern.MEMBERSHIPS, text, bots)


def _notices(moves: Sequence[Move], facts: Facts, *, rearmed: bool, options: bool, asked: bool) -> Note:
    endless = all(move.new is None for move in moves)
    # Without a date there is nothing to warn about.
    tokens = 0 if endless and not rearmed else facts.warned
    owners = counted(facts.warned_owners, "owner has", "owners have")
    text = f"{owners} been warned about {counted(tokens, 'token')} already"
    if not rearmed:
        aside = _aside("leave out --notices keep to re-arm the notices", options)
        return Note(Concern.NOTICES, f"{text}, and GitLab may not warn again before the new date{aside}.", tokens)
    if asked:
        text += ", and GitLab may not warn again, unless the notices are re-armed"
        if facts.mailed_owners:
            text += f": then GitLab will mail {counted(facts.mailed_owners, 'owner')} within a day"
        return Note(Concern.NOTICES, f"{text}.", tokens)
    text += ": the notices are re-armed" + ("" if endless else " for the new date")
    text += _aside("--notices keep leaves them", options)
    if facts.mailed_owners:
        text += f", and GitLab will mail {counted(facts.mailed_owners, 'owner')} about their tokens within a day"
    return Note(Concern.NOTICES, f"{text}.", tokens)


def doomed(bots: int, clean_up: CleanUp | None) -> Note:
    """The note on the bots that GitLab deletes because of a change."""
    if clean_up is None:
        return Note(Concern.DOOMED, "", 0)
    text = f"{counted(bots, 'bot loses', 'bots lose')} by this change what keeps {them(bots)}"
    if clean_up.takes_undated:
        text += f" ({FAULTY}{'' if clean_up.certain else ', which this may be,'} keeps none for a token without a date)"
    text += f": at 00:00 UTC {what_it_does(clean_up, bots)}, and no undo brings {them(bots)} back."
    return Note(Concern.DOOMED, text, bots)


def _doomed_anyway(facts: Facts, policy: Policy, clean_up: CleanUp | None) -> Note:
    undated = " (one without a date may count as none)" if clean_up and clean_up.takes_undated else ""
    text = (
        f"{counted(facts.doomed_anyway_bots, 'bot')} will have no active token{undated}: GitLab's nightly clean-up "
        f"deletes such bots with their tokens, {counted(policy.inactive_days or 0, 'day')} after the last one's end."
    )
    return Note(Concern.DOOMED_ANYWAY, text, facts.doomed_anyway_bots)


def _blocked(facts: Facts) -> Note:
    text = (
        f"{counted(facts.blocked, 'token')} of {counted(facts.blocked_owners, 'owner')} will not work whatever the "
        "date, because the owner is blocked, banned or deactivated."
    )
    return Note(Concern.BLOCKED, text, facts.blocked)


def _migrated(facts: Facts) -> Note:
    text = f"{counted(facts.migrated, 'token')} probably got this date from GitLab 16.0's migration, not from a person."
    return Note(Concern.MIGRATED, text, facts.migrated)


def _count(moves: Iterable[Move], concerned: Callable[[Move], bool]) -> int:
    return sum(move.tokens for move in moves if concerned(move))


def _aside(option: str, shown: bool) -> str:
    return f" ({option})" if shown else ""


def first_of(ids: Sequence[int], tokens: int | None = None) -> str:
    """The first few of ids; `tokens` is how many there are where `ids` are not all of them."""
    return first_few(ids, IDS_SHOWN, tokens)
