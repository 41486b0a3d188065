"""The options that say which tokens, each described once, and what they make together."""

from collections.abc import Sequence

from tokens.tasks.option import Argument, Option, argument, which
from tokens.tasks.options import values
from tokens.tasks.options.values import KINDS, OTHER_KINDS, OWNER_STATES, STATES

OF_KIND = which(
    "kind", f"Only of this kind: {KINDS}. Default: every kind but impersonation.", several=True, value=values.KIND
)
IN_STATE = which("state", f"Only in this state: {STATES}. Default: active.", several=True, value=values.STATE)

SELECTING = (
    which(
        "expires",
        "Those that expire on a day (2026-12-04, today, +14d), in a month (2026-12), between two of these "
        "(2026-12-04..2026-12-11, ..+14d), or never (none).",
        several=True,
        value=values.WHICH,
    ),
    OF_KIND,
    IN_STATE,
    which("user", "Only of the user with this username, or URL.", several=True, value=values.USERNAME),
    which(
        "group",
        "Only of bots and service accounts of the group with this full path, or URL, and of what lies below it.",
        several=True,
        value=values.GROUP_PATH,
    ),
    which(
        "project",
        "Only of bots and service accounts of the project with this full path, or URL.",
        several=True,
        value=values.PROJECT_PATH,
    ),
    which("name", "Only with a name like this, case counts: * is any text, ? a character.", value=values.GLOB),
    which(
        "scope",
        "Only with this scope, such as api. Of several a token must have all.",
        several=True,
        value=values.SCOPE,
    ),
    which("last_used_before", "Only last used before this day (2024-06-15, UTC), or never.", value=values.PAST_DAY),
    which("last_used_after", "Only last used on this day (2024-06-15, UTC) or later.", value=values.PAST_DAY),
    which("created_before", "Only created before this day (2024-06-15, UTC).", value=values.PAST_DAY),
    which("created_after", "Only created on this day (2024-06-15, UTC) or later.", value=values.PAST_DAY),
    which("owner_state", f"Only of owners in this state: {OWNER_STATES}.", several=True, value=values.OWNER_STATE),
    which("never_used", "Only those that GitLab has never seen used.", False),
    which(
        "beyond_maximum", "Only those that live longer than the instance's maximum lifetime, or have no date.", False
    ),
    which("no_membership", "Only those of project and group bots without any membership, which reach nothing.", False),
    which(
        "ids",
        "Only with an id in this file (- is standard input), separated by spaces, commas or lines; # starts a comment.",
        is_file=True,
        value=values.FILE,
    ),
)

LEAVE_OUT = which(
    "leave_out",
    "Leave out tokens that a guard is about: superseded (a rotation has replaced them).",
    forms=("superseded",),
)


WITHIN = which(
    "within",
    "Those that work and expire within a period from today (30d, 2w, 3m, 1y), instead of --expires.",
    value=values.PERIOD,
)

EXPIRED_WITHIN = which(
    "expired_within",
    "Those that have expired within the last period, such as 14d, instead of --expires. --state is expired then.",
    value=values.PERIOD.such_as("14d"),
)

PERIODS = (WITHIN, EXPIRED_WITHIN)

EVERY_KIND = OF_KIND.saying(f"Only of this kind: {KINDS}. Default: every kind of token.")
EVERY_KIND_AND_OTHERS = OF_KIND.saying(
    f"Only of this kind: {KINDS}; or one that is no access token: {OTHER_KINDS}. Default: every kind of token.",
    value=values.KIND_SHOWN,
)
EVERY_STATE = IN_STATE.saying(f"Only in this state: {STATES}. Default: every state.")


def selecting(*instead: Option, without: Sequence[str] = ()) -> tuple[Option, ...]:
    """The options that say which tokens, `instead` in the place of those of its names, and none of `without`."""
    other = {option.name: option for option in instead}
    return tuple(other.get(option.name, option) for option in SELECTING if option.name not in without)


def selection(reader: str, *options: Option) -> Argument:
    """The selection that a reader makes of these options."""
    return argument("selection", f"options.selecting:{reader}", *options)
