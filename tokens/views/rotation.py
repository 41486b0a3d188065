"""A rotation as text and as JSON: what will be done, what was done, and what is left to do by hand."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tokens.call import one_message
from tokens.counts import counted
from tokens.errors import without_tokens
from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.kind import State
from tokens.rotation.candidate import Candidate
from tokens.rotation.resumption import Resumption, Step
from tokens.rotation.retirement import Retirement
from tokens.rotation.rotator import End, Outcome
from tokens.terminal import tables
from tokens.terminal.printable import printable
from tokens.views.times import near, plain

MOST_ROTATIONS = 50  # lines; --output json has all of them
DEFAULT_ORGANIZATION = 1  # GitLab's own, in which everything is unless an administrator makes others
PROPERTIES = ("description", "granular scopes", "impersonation flag", "sudo flag", "organization")
HEADING = ("Account", "Token", "Id", "Scopes", "Expires", "Why", "Last used", "New date")
SPARE = ("Last used", "Why", "Scopes", "New date")  # on a narrow terminal, in this order
WHOLE = ("Account", "Id", "Why")  # whose tokens they are has to be seen


@dataclass(frozen=True)
class Verification:
    """The GitLab that has to accept a new token."""

    url: str


def plan(
    left: Sequence[Resumption],
    *,
    proof: Verification | str,
    places: Sequence[str],
    after: str | None,
    notes: Sequence[str],
    columns: int | None = None,
) -> str:
    """What a person reads before saying yes; `proof` may be the reason why there is none.

    `columns` are the terminal's, None where there is none.
    """
    lines = [*_table(left, columns), "", *_copied(left), *_owner(left)]
    lines.append(
        f"Verify:  {f'no ({proof})' if isinstance(proof, str) else f'{proof.url} has to accept the new token'}"
    )
    makes_tokens = any(one.makes_token for one in left)
    lines.append(f"Deliver: {_places(places) if makes_tokens else 'nothing (there is no new token)'}")
    if any(one.step is not Step.ABANDON for one in left):
        lines.append(f"Revoke:  {_retirement(left)}")
    if after:
        lines.append(f"After:   {without_tokens(after)}")
    lines += ["", *(f"NOTE: {note}" for note in (*_hopeless(left), *notes))]
    return "\n".join(map(printable, lines)).rstrip()


def empty_plan_as_dict(notes: Sequence[str]) -> dict[str, Any]:
    """The plan for a program where there is no token to rotate."""
    return {
        "tokens": 0,
        "rotations": [],
        "verify": None,
        "deliver": [],
        "after": None,
        "notes": [{"text": note} for note in notes],
    }


def plan_as_dict(
    left: Sequence[Resumption],
    *,
    proof: Verification | str,
    places: Sequence[str],
    after: str | None,
    notes: Sequence[str],
) -> dict[str, Any]:
    """The plan for a program: dates as text, null for "never expires" and for "revoked at once"."""
    return {
        "tokens": len(left),
        "rotations": [_rotation_as_dict(one) for one in left],
        "verify": None if isinstance(proof, str) else proof.url,
        "deliver": list(map(without_tokens, places)),
        "after": after and without_tokens(after),
        "notes": [{"text": note} for note in (*_hopeless(left), *notes)],
    }


def outcome(one: Outcome, place: str | None) -> str:
    """What became of one token, in one line."""
    who = f'{one.candidate.account}, "{one.candidate.name}" (id {one.token_id})' if one.candidate else "(gone)"
    match one.end:
        case End.DONE:
            new = one.new
            day = _new_date(one)
            to = f", delivered to {without_tokens(place)}" if place else ""
            account = _new_account(one)
            owner = f", belongs to {account}" if account else ""
            said = (
                f"{who}: the new token has id {new and new.id}{owner} and expires {day}{to}; the old one {_fate(one)}."
            )
        case End.ABANDONED:
            said = one_message(f"{who}: {one.fault}", "The new token was revoked again, and the old one is as it was.")
        case End.UNTOUCHED:
            said = one_message(f"{who}: {one.fault}", "No new token was made.")
        case End.UNFINISHED:
            said = f"{who}: {one.fault}"
    return printable(said)


def outcome_as_dict(one: Outcome) -> dict[str, Any]:
    """The same for a program."""
    return {
        "id": one.token_id,
        "account": one.candidate and one.candidate.username,
        "end": one.end.value,
        "new_account": _new_account(one),
        "successor_id": one.new and one.new.id,
        "new_expires_at": one.new and one.new.expires_at,
        "old_token": one.retirement and one.retirement.value,
        "fault": one.fault and str(one.fault),
    }


def checklist(done: Sequence[Outcome], *, after: bool) -> str:
    """The runbook's last steps, which nobody but a person can do."""
    several = len(done) > 1
    tokens = "the new tokens" if several else "the new token"
    lines = ["[ ] Every copy of the old token is replaced: CI/CD variables, .env files, hosts."]
    if not after:
        lines.append("[ ] The pipelines that failed with the old token were run again, and are green.")
    for name in sorted(filter(None, set(map(_new_account, done)))):
        old = "old tokens" if several else "old token"
        lines.append(f"[ ] {name} is a member, with the role that it takes, where the {old} worked.")
    if any(one.retirement is Retirement.GRACE for one in done):
        lines.append("[ ] Nobody uses the old token when its grace ends: look at its last use.")
    if any(one.retirement is Retirement.LEFT_ALONE for one in done):
        lines.append("[ ] Old tokens that others have changed, and that were left alone, are looked at.")
    if any(one.retirement is Retirement.REPLACED for one in done):
        lines.append("[ ] Of two successors of one token the unused one is revoked, in GitLab.")
    days = sorted({_new_date(one) for one in done})
    lines.append(f"[ ] All who work with it know that {tokens} expire{'' if several else 's'} {', '.join(days)}.")
    return "\n".join(["Left to do by hand:", *lines])


def account(name: str, tokens: Sequence[Candidate]) -> str:
    """An account with its tokens, the nearest to today first, in one line."""
    more = f" and {len(tokens) - 1} more" if len(tokens) > 1 else ""
    return f"{name} ({tokens[0].name}, {_expiry(tokens[0])}{more})"


def token(candidate: Candidate) -> str:
    """One token in one line: name, id, scopes, how near its date is, last use."""
    used = f"last used {candidate.last_used_at[:10]}" if candidate.last_used_at else "never used"
    return f"{candidate.name} (id {candidate.id}, {' '.join(candidate.scopes)}, {_expiry(candidate)}, {used})"


def _table(left: Sequence[Resumption], columns: int | None) -> list[str]:
    rows: list[tuple[str, ...]] = []
    for one in left[:MOST_ROTATIONS]:
        if one.rotation is None:
            rows.append(("", "(gone)", str(one.token_id), "", "", "", "", "(none)"))
            continue
        old = one.rotation.candidate
        used = (old.last_used_at or "never")[:10]
        match one.step:
            case Step.FINISH:
                new = f"id {one.successor_id}, delivered"
            case Step.ABANDON:
                new = "(none)"
            case _:
                new = plain(one.rotation.expires_at)
        scopes = " ".join(old.scopes)
        why = "revoked since" if one.step is Step.ABANDON else _why(old)
        cells = (old.account, old.name, str(old.id), scopes, plain(old.expires_at), why, used, new)
        rows.append(tuple(map(printable, cells)))
    more = [f"... and {len(left) - MOST_ROTATIONS:,} more"] if len(left) > MOST_ROTATIONS else []
    return [*tables.table(HEADING, rows, columns, spare=SPARE, whole=WHOLE), *more]


def _hopeless(left: Sequence[Resumption]) -> Iterator[str]:
    """The note on old tokens that are dead by now."""
    if dead := sum(one.step is Step.ABANDON for one in left):
        were = counted(dead, "old token was revoked or deleted", "old tokens were revoked or deleted")
        yield f"{were} in the meantime, so no new one is made for {'it' if dead == 1 else 'them'}."


def _copied(left: Sequence[Resumption]) -> list[str]:
    """What the new tokens have of the old ones beside what the table shows: of one token line by line, else counted."""
    old = [one.rotation.candidate for one in left if one.rotation and one.makes_token]
    if len(left) == 1:
        found = [thing for one in old for thing in _properties(one).values()]
    else:
        counts = Counter(name for one in old for name in _properties(one))
        parts = [f"the {name} of {counted(counts[name], 'token')}" for name in PROPERTIES if counts[name]]
        found = [", ".join(parts)] if parts else []
    return [f"{'Copied:' if number == 0 else '':<9}{thing}" for number, thing in enumerate(found)]


def _properties(old: Candidate) -> dict[str, str]:
    """Those of PROPERTIES that the token has, as a person reads them."""
    found = {}
    if old.description:
        found["description"] = f'the description "{old.description}"'
    if old.granular or old.granular_scopes:
        kind = ": the token is fine-grained" if old.granular else ""
        found["granular scopes"] = f"{counted(old.granular_scopes, 'granular scope')}{kind}"
    if old.impersonation:
        found["impersonation flag"] = "the impersonation flag"
    if old.sudo:
        found["sudo flag"] = "the sudo flag: the new token may act as any user, too"
    if old.organization_id not in (None, DEFAULT_ORGANIZATION):
        found["organization"] = f"the organization, {old.organization_id}"
    return found


def _owner(left: Sequence[Resumption]) -> list[str]:
    """The new tokens' owner where it is another one than before."""
    names = {one.rotation.new_owner.username for one in left if one.rotation and one.rotation.new_owner}
    return [f"Owner:   the service account {name}, from now on" for name in sorted(names)]


def _places(places: Sequence[str]) -> str:
    if not places:
        return "(not said)"
    places = list(map(without_tokens, places))  # somebody may have typed one by mistake
    return places[0] if len(set(places)) == 1 else f"{places[0]}, and so on"


def _retirement(left: Sequence[Resumption]) -> str:
    days = {one.rotation.grace_until for one in left if one.rotation}
    day = next(iter(days), None)
    if day is None:
        return "the old token at once, when the new one is in its place"
    return f"the old token expires {near(day)}, or on its own date if that is earlier"


def _rotation_as_dict(one: Resumption) -> dict[str, Any]:
    if one.rotation is None:
        return {"id": one.token_id, "step": one.step.value}
    old = one.rotation.candidate
    return {
        "id": old.id,
        "step": one.step.value,
        "account": old.username,
        "new_account": one.rotation.new_owner and one.rotation.new_owner.username,
        "name": old.name,
        "description": old.description,
        "kind": old.kind.value,
        "state": old.state.value,
        "scopes": list(old.scopes),
        "granular": old.granular,
        "granular_scopes": old.granular_scopes,
        "impersonation": old.impersonation,
        "sudo": old.sudo,
        "organization_id": old.organization_id,
        "expires_at": old.expires_at and str(old.expires_at),
        "days": old.days,
        "why": _why(old),
        "last_used_at": old.last_used_at,
        "new_expires_at": one.rotation.expires_at and str(one.rotation.expires_at),
        "grace_until": one.rotation.grace_until and str(one.rotation.grace_until),
    }


def _new_account(one: Outcome) -> str | None:
    """The account that the new token belongs to; None where it is the old one's."""
    if one.new is None or one.candidate is None or one.new.account == one.candidate.account:
        return None
    return one.new.account


def _fate(one: Outcome) -> str:
    match one.retirement:
        case Retirement.GRACE if one.candidate and one.candidate.state is State.EXPIRED:
            return "stays expired"
        case Retirement.GRACE:
            return "lives on until its grace ends"
        case Retirement.LEFT_ALONE:
            return "was changed by somebody in the meantime, and is left alone"
        case Retirement.GONE:
            return "was deleted by somebody in the meantime"
        case Retirement.REPLACED:
            return "was rotated by somebody else, too, and that successor works as well"
    return "is revoked"


def _new_date(one: Outcome) -> str:
    """When the new token expires; the backend says it as text."""
    if one.new is None or one.new.expires_at is None:
        return "never"
    return near(ExpirationDate.typed(one.new.expires_at))


def _why(candidate: Candidate) -> str:
    """Why a token is among those that may be rotated: somebody has named it, or its date is near."""
    return "named" if candidate.named else _nearness(candidate)


def _expiry(candidate: Candidate) -> str:
    nearness = _nearness(candidate)
    return nearness if candidate.days is None else f"{nearness}, on {candidate.expires_at}"


def _nearness(candidate: Candidate) -> str:
    """How near its date is, such as `expires in 6 days` or `expired 3 days ago`."""
    days = candidate.days
    if days is None:
        return "expired" if candidate.state is State.EXPIRED else "never expires"
    if days == 0:
        return "expired today"
    number = f"{abs(days)} day{'' if abs(days) == 1 else 's'}"
    return f"expires in {number}" if days > 0 else f"expired {number} ago"
