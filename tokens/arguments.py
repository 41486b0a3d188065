"""What a caller from Python gives, looked at before anything is done: each is a UsageError where it can be nothing."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from tokens.address import Address
from tokens.change.plan import Plan
from tokens.commands.options.handling import GUARDS
from tokens.database import read_identity
from tokens.errors import Refused, UsageError, shortened
from tokens.journal.runs import PLAN_LIFETIME
from tokens.spelling import meant
from tokens.targets.target import DatabaseTarget, parse_target

LARGEST = 2**63 - 1


def address_of(target: str | Address) -> Address:
    """The database that is meant; UsageError for what is none."""
    if isinstance(target, Address):
        return target
    # Of any other word the command line's message would say what it takes there.
    is_url = isinstance(target, str) and target.startswith(("postgresql://", "postgres://"))
    found = parse_target(target, {}) if is_url else None
    if not isinstance(found, DatabaseTarget):
        raise UsageError("From Python a target is postgresql://USER@HOST:PORT/DBNAME, or an Address.")
    return found.address


def refuse(words: Sequence[str], allow: Collection[str]) -> None:
    """Raise Refused for guards, by their words, that `allow` does not name; nothing has been changed."""
    forbidden = [word for word in words if word not in allow]
    if forbidden:
        raise Refused(
            f"Refused because of {' and '.join(forbidden)}: the notes of the plan say why; to do it all the same use "
            f"allow={tuple(words)}"
        )


def check_allow(allow: Collection[str], *tasks: str) -> None:
    """Raise UsageError for a word that allows nothing in any of these tasks."""
    known = list(dict.fromkeys(word for task in tasks for word in GUARDS[task]))
    if isinstance(allow, str | Mapping) or not isinstance(allow, Collection):
        raise UsageError(f"allow takes a collection of words, such as ('past',), not {shortened(repr(allow))}.")
    for word in allow:
        if word not in known:
            near = meant(word, known) if isinstance(word, str) else ""
            raise UsageError(f"allow takes {', '.join(known)}, not {shortened(repr(word))}{near}.")


def check_new(plan: Plan) -> None:
    """Raise UsageError for a plan that the journal has, which is carried out, and guarded, as the run that it is."""
    if plan.stored is not None:
        run = plan.stored
        raise UsageError(f"The journal has this plan as run {run}: to carry it out use apply(…, {run}).")


def check_kept(plan: Plan, address: Address, allow: Collection[str]) -> None:
    """Raise Refused for a plan of another database, where other tokens may have the same ids and dates, or an old one.

    `allow` are words of guards.
    """
    age = timedelta() if plan.made_at is None else datetime.now(UTC) - plan.made_at
    if age > timedelta(hours=PLAN_LIFETIME) and "old-plan" not in allow:
        raise Refused(
            f"The plan is older than {PLAN_LIFETIME} hours, and its tokens have lived on since: make it again, or use "
            "allow=('old-plan',)"
        )
    if plan.database is not None and read_identity(address) not in (plan.database, None):
        raise Refused(f"The plan is of another database than {address.shown}: nothing was changed. Make a plan there.")


def check_text(name: str, text: str) -> None:
    """Raise UsageError for what is no text that PostgreSQL can hold."""
    if not isinstance(text, str) or "\0" in text:
        raise UsageError(f"{name} takes a text, not {shortened(repr(text))}.")


def check_callable(name: str, function: object) -> None:
    """Raise UsageError for what cannot be called."""
    if not callable(function):
        raise UsageError(f"{name} takes a function, not {shortened(repr(function))}.")


def check_type(name: str, value: object, wanted: type) -> None:
    """Raise UsageError for the value of an argument that is of another type."""
    if not isinstance(value, wanted):
        a = "an" if wanted.__name__[0] in "AEIOU" else "a"
        raise UsageError(f"{name} takes {a} {wanted.__name__}, not {shortened(repr(value))}.")


def check_number(name: str, number: int, what: str, most: int = LARGEST) -> None:
    """Raise UsageError for what is no whole number from 1 to `most`; `what` says what the argument takes."""
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= most:
        raise UsageError(f"{name} takes {what}, not {shortened(repr(number))}.")


def check_run(run: int) -> None:
    """Raise UsageError for what can be the number of no run."""
    check_number("A run", run, "its number in the journal")
