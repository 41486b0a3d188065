"""What a person should know about a change before saying yes: decided here, from facts alone."""

from dataclasses import dataclass
from enum import Enum

from tokens.gitlab.expiration import ExpirationDate
from tokens.gitlab.settings import Policy


class Concern(Enum):
    """Why a new expiration date deserves a second look."""

    PAST = "past"
    SAME = "same"
    EARLIER = "earlier"
    BEYOND_MAXIMUM = "beyond-maximum"


@dataclass(frozen=True)
class Note:
    """One concern and its sentence."""

    concern: Concern
    text: str


def notes_on_date(old: ExpirationDate, new: ExpirationDate, policy: Policy) -> tuple[Note, ...]:
    """The notes on moving tokens from `old` to `new`; none for a date that is later, to come and within the policy."""
    notes = []
    if new <= policy.today:
        notes.append(
            Note(Concern.PAST, f"{new} is not in the future (today is {policy.today} UTC): these tokens will not work.")
        )
    if new == old:
        notes.append(Note(Concern.SAME, f"{new} is the date that these tokens have already."))
    if new < old:
        notes.append(Note(Concern.EARLIER, f"{new} is before {old}: these tokens will expire earlier than now."))
    if policy.last_date is not None and new > policy.last_date:
        notes.append(
            Note(
                Concern.BEYOND_MAXIMUM,
                f"{new} is beyond the instance's maximum lifetime of {policy.maximum_lifetime} days "
                f"({policy.last_date}): GitLab revokes such tokens when that setting is next changed.",
            )
        )
    return tuple(notes)
