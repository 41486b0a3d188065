"""How the journal's state looks: a screen and JSON."""

from collections.abc import Iterator, Sequence

from tokens.call import to_type
from tokens.counts import counted, first_few
from tokens.journal.contents import Contents, JournalStatus
from tokens.journal.installation import UNKNOWN
from tokens.journal.proof import Checked
from tokens.journal.settings import Setting
from tokens.origin import described
from tokens.targets.instance import Instance
from tokens.terminal.printable import printable
from tokens.views import document
from tokens.views.times import to_the_second

MOST_FAULTS = 20  # that are listed for people
UNCHECKED = "Nothing was checked: the journal is not of the revision that this version of the tool needs."


def screen(status: JournalStatus) -> str:
    """The journal's state in lines, without the last newline."""
    if status.revision is None:
        return f"Journal     not installed{to_type('to install it', 'journal.install')}"
    if status.contents is None:
        older = status.revision.isdigit() and int(status.revision) < int(status.needed)
        if status.revision == UNKNOWN:
            step = to_type("to read it from the tables", "journal.install")
            return f"Journal     does not say its revision{step}"
        migrating = to_type("to migrate it", "journal.install")
        if status.owner is not None:
            migrating = f": role {status.owner} has to migrate it by journal.install"
        cure = migrating if older else "; use the version of the tool that made it"
        return f"Journal     revision {status.revision}, this version of the tool needs {status.needed}{cure}"
    rows = [("Journal", f"installed, revision {status.revision}"), *_rows(status.contents).items()]
    if status.chain is not None:
        rows += _chain(status.chain)
    return "\n".join(f"{name:<12}{value}" for name, value in rows)


def as_json(status: JournalStatus, instance: Instance) -> str:
    """The journal's state for a program: times in ISO 8601 (UTC), sizes in bytes; null for what there is none of."""
    contents = status.contents
    return document.text(
        instance,
        {
            "revision": status.revision,
            "needed_revision": status.needed,
            "runs": contents and contents.runs,
            "oldest": contents and contents.oldest,
            "newest": contents and contents.newest,
            "tokens": contents and contents.tokens,
            "bytes_a_token": contents and contents.bytes_a_token and round(contents.bytes_a_token, 2),
            "bytes": contents
            and {
                "total": contents.size,
                "chunks": contents.chunks_size,
                "names": contents.names_size,
                "memberships": contents.memberships_size,
                "notices": contents.notices_size,
            },
            "chain": status.chain
            and {
                "holds": not status.chain.faults,
                "runs": status.chain.runs,
                "entries": status.chain.entries,
                "rows": status.chain.rows,
                "uncovered": status.chain.uncovered,
                "head": status.chain.head,
                "not_entered": list(status.chain.not_entered),
                "faults": [{"run": fault.run or None, "what": fault.what} for fault in status.chain.faults],
            },
        },
    )


def broken(found: Checked) -> str:
    """The line for standard error about a chain that does not hold."""
    return (
        f"The journal's chain does not hold: {counted(len(found.faults), 'fault')}. Something other than this tool has "
        "changed, removed or added rows. Compare them with a backup, or with an evidence file of an earlier day."
    )


def _chain(found: Checked) -> Iterator[tuple[str, str]]:
    if found.faults:
        yield "Chain", "does not hold:"
        for fault in found.faults[:MOST_FAULTS]:
            yield "", str(fault)
        if len(found.faults) > MOST_FAULTS:
            yield "", f"and {len(found.faults) - MOST_FAULTS:,} more"
    else:
        entries = counted(found.entries, "entry", "entries")
        yield "Chain", f"holds, {entries} of {counted(found.runs, 'run')}"
    if found.head is not None:
        yield "", f"the journal's last entry is {found.head}"
    if found.not_entered:
        one = len(found.not_entered) == 1
        shown = first_few(found.not_entered, MOST_FAULTS)
        runs, are = ("run", "it is") if one else ("runs", "they are")
        yield "", f"it does not cover {runs} {shown} as {are} now{to_type('to enter that', 'journal.install')}"
    if found.uncovered:
        yield "", f"{counted(found.uncovered, 'run')} from before revision 4: nothing is proven"


def _rows(contents: Contents) -> dict[str, str]:
    states = ", ".join(f"{count:,} {state}" for state, count in contents.runs.items() if count)
    rows = {"Runs": f"{sum(contents.runs.values()):,}{f': {states}' if states else ''}"}
    if contents.oldest and contents.newest:
        rows["Oldest"], rows["Newest"] = to_the_second(contents.oldest), to_the_second(contents.newest)
    rows["Size"] = _size(contents.size)
    tokens = f"{contents.tokens:,}"
    each = "" if contents.bytes_a_token is None else f", {contents.bytes_a_token:.1f} bytes for each of {tokens}"
    rows["Tokens"] = f"{_size(contents.chunks_size)} of it{each}"
    rows["Names"] = f"{_size(contents.names_size)} of it"
    rows["Memberships"] = f"{_size(contents.memberships_size)} of it"
    rows["Notices"] = f"{_size(contents.notices_size)} of it"
    return rows


def _size(count: int) -> str:
    return f"{count / 10**3:.0f} kB" if count < 10**7 else f"{count / 10**6:.0f} MB"


def four_eyes_screen(found: Sequence[Setting], *, by_configuration: bool = False) -> Iterator[str]:
    """Whether two people are needed, and each time that this was turned on or off, the last first.

    `by_configuration` is whether the configuration demands it here, whatever the journal says.
    """
    on = bool(found) and found[0].on
    yield f"Four eyes   {'on: who plans a change may not carry it out' if on else 'off: one person may do both'}"
    if by_configuration and not on:
        yield f"{'':<12}but not here: tokens.four_eyes in Invoke's configuration demands two people"
    for one in found:
        why = f": {printable(one.because)}" if one.because else ""
        turned = f"turned {'on' if one.on else 'off'}, by {printable(described(one.origin))}{why}"
        yield f"{'':<12}{to_the_second(one.set_at)}, {turned}"


def four_eyes_as_json(found: Sequence[Setting], instance: Instance) -> str:
    """The same for a program: times in ISO 8601 (UTC)."""
    settings = [{"on": one.on, "by": one.origin, "at": one.set_at, "reason": one.because} for one in found]
    return document.text(instance, {"four_eyes": bool(found) and found[0].on, "settings": settings})
