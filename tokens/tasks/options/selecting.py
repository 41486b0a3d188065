"""The options that say which tokens, each described once, and what they make together."""

from collections.abc import Sequence

from tokens.tasks.option import Argument, Option, which
from tokens.tasks.options.shared import (
    FILE,
    GLOB,
    GROUP_PATH,
    KIND,
    KIND_SHOWN,
    KINDS,
    OTHER_KINDS,
    OWNER_STATE,
    OWNER_STATES,
    PAST_DAY,
    PERIOD,
    PROJECT_PATH,
    SCOPE,
    STATE,
    STATE_TO_REVOKE,
    STATES,
    USERNAME,
    WHICH,
)

OF_KIND = which("kind", f"Only of this kind: {KINDS}. Default: every kind but impersonation.", several=True, value=KIND)
IN_STATE = which("state", f"Only in this state: {STATES}. Default: active.", several=True, value=STATE)

SELECTING = (
    which(
        "expires",
        "Those that expire on a day (2026-12-04, today, +14d), in a month (2026-12), between two of these "
        "(2026-12-04..2026-12-11, ..+14d), or never (none).",
        several=True,
        value=WHICH,
    ),
    OF_KIND,
    IN_STATE,
    which("user", "Only of the user with this username, or URL.", several=True, value=USERNAME),
    which(
        "group",
        "Only of bots and service accounts of the group with this full path, or URL, and of what lies below it.",
        several=True,
        value=GROUP_PATH,
    ),
    which(
        "project",
        "Only of bots and service accounts of the project with this full path, or URL.",
        several=True,
        value=PROJECT_PATH,
    ),
    which("name", "Only with a name like this, case counts: * is any text, ? a character.", value=GLOB),
    which("scope", "Only with this scope, such as api. Of several a token must have all.", several=True, value=SCOPE),
    which("last_used_before", "Only last used before this day (2024-06-15, UTC), or never.", value=PAST_DAY),
    which("last_used_after", "Only last used on this day (2024-06-15, UTC) or later.", value=PAST_DAY),
    which("created_before", "Only created before this day (2024-06-15, UTC).", value=PAST_DAY),
    which("created_after", "Only created on this day (2024-06-15, UTC) or later.", value=PAST_DAY),
    which("owner_state", f"Only of owners in this state: {OWNER_STATES}.", several=True, value=OWNER_STATE),
    which("never_used", "Only those that GitLab has never seen used.", False),
    which(
        "beyond_maximum", "Only those that live longer than the instance's maximum lifetime, or have no date.", False
    ),
    which("no_membership", "Only those of project and group bots without any membership, which reach nothing.", False),
    which(
        "ids",
        "Only with an id in this file (- is standard input), separated by spaces, commas or lines; # starts a comment.",
        is_file=True,
        value=FILE,
    ),
)

LEAVE_OUT = which(
    "leave_out",
    "Leave out tokens that a guard is about: superseded (a rotation has replaced them).",
    forms=("superseded",),
)

SUPERSEDED = LEAVE_OUT.read_by("options.selecting:takes_superseded", "superseded")

WITHIN = which(
    "within",
    "Those that work and expire within a period from today (30d, 2w, 3m, 1y), instead of --expires.",
    value=PERIOD,
)

EXPIRED_WITHIN = which(
    "expired_within",
    "Those that have expired within the last period, such as 14d, instead of --expires. --state is expired then.",
    value=PERIOD.such_as("14d"),
)

PERIODS = (WITHIN, EXPIRED_WITHIN)

EVERY_KIND = OF_KIND.saying(f"Only of this kind: {KINDS}. Default: every kind of token.")
EVERY_KIND_AND_OTHERS = OF_KIND.saying(
    f"Only of this kind: {KINDS}; or one that is no access token: {OTHER_KINDS}. Default: every kind of token.",
    value=KIND_SHOWN,
)
EVERY_STATE = IN_STATE.saying(f"Only in this state: {STATES}. Default: every state.")
WORKING_OR_EXPIRED = IN_STATE.saying(f"Only in this state: {STATES}. Default: active and expired.")
NOT_REVOKED = IN_STATE.saying("Only in this state: active, expired. Default: active.", value=STATE_TO_REVOKE)


def selecting(*instead: Option, without: Sequence[str] = ()) -> tuple[Option, ...]:
    """The options that say which tokens, `instead` in the place of those of its names, and none of `without`."""
    other = {option.name: option for option in instead}
    return tuple(other.get(option.name, option) for option in SELECTING if option.name not in without)


def selection(reader: str, *options: Option) -> Argument:
    """The selection that a reader makes of these options."""
    return Argument("selection", f"options.selecting:{reader}", options)


SELECTION = selection("selection", *SELECTING, *PERIODS, LEAVE_OUT)
"""Which tokens are to be changed."""
TO_REVOKE = selection("to_revoke", *selecting(NOT_REVOKED), *PERIODS)
"""Which tokens are to be revoked."""
LISTED = selection("to_read", *selecting(EVERY_KIND_AND_OTHERS), *PERIODS)
"""Which tokens are to be shown: without an option about the date those of any date."""
COUNTED = selection("to_count", *selecting(EVERY_KIND_AND_OTHERS, EVERY_STATE), *PERIODS)
"""Which tokens are counted: without an option about kind or state all of them."""
COMING = selection("to_count", *selecting(EVERY_KIND_AND_OTHERS, without=("expires", "state")))
"""Which tokens are counted by a task that has a window of its own, of those that work."""
FORESEEN = selection("to_foresee", *selecting(EVERY_KIND_AND_OTHERS, without=("expires",)))
"""The same, and revoked ones on request."""
REPORTED = selection("to_report", *selecting(EVERY_KIND_AND_OTHERS, WORKING_OR_EXPIRED), *PERIODS)
"""Which tokens a page is about."""
USED_TOKENS = selection("to_count", *selecting(EVERY_KIND, EVERY_STATE), *PERIODS)
"""The same where no other kinds can be named."""
