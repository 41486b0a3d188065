#!/usr/bin/env python3
"""Check a file of evidence: each row by its entry, each entry by the one before. Nothing but Python 3 is needed.

python3 evidence.ndjson.check.py evidence.ndjson
"""

import hashlib
import json
import re
import sys

ONCE = ("runs", "attempts", "ends", "notices", "memberships", "revocations", "names", "settings")
FINAL = ("done", "withdrawn")
AT_REST = ("planned", "stopped", "partial", *FINAL)
TOLD = ("runs", "state", "attempts", "ends", "chunks", "results")  # the line of a run is made from these
LINE = re.compile("^([a-z]+) ([0-9,]+) ([0-9a-f]+|-)(?: ([a-z]+))?$", re.M)


def sha256(text, before=""):
    return hashlib.sha256(bytes.fromhex(before) + text.encode("utf-8", "surrogateescape")).hexdigest()


def read(lines):
    """Runs, the rows and entries of each, and the last line; of a row its SHA-256, and its text if `told` needs it."""
    runs, rows, entries, end = {}, {}, {0: []}, None
    for line in lines:
        ((kind, one),) = json.loads(line).items()
        if kind == "entry":
            entries.setdefault(one["run"], []).append(one)
        elif kind == "end":
            end = one
        else:
            of_run = rows.setdefault(one["run"], {})
            into, key = (runs, one["run"]) if kind == "run" else (of_run, (one["part"], one["key"]))
            if key in into:
                raise ValueError(f"it has a {kind} twice")
            into[key] = one if kind == "run" else (sha256(one["content"]), one["part"] in TOLD and one["content"])
    return runs, rows, entries, end


def written(entry):
    """The lines of an entry: part, key, SHA-256 and, of a run in the journal's own chain, its state."""
    return [
        (part, key, *more) for part, keys, *more in LINE.findall(entry["written"]) for key in keys.split(",") if key
    ]


def check_entries(run, entries, known, gone, rows):
    """What is wrong with a run's entries, and its latest lines; `known` are its states by chain, from the journal's."""
    faults, first, latest, before, rest = [], {}, {}, "", None
    for number, entry in enumerate(entries, 1):
        text = "{run} {number} {written_at}\n{written}".format(**entry)
        if (entry["number"], entry["chain"]) != (number, sha256(text, before)):
            faults.append(f"entry {entry['number']} of run {run} was changed, or one before it is missing")
        before = entry["chain"]
        lines = [line[:3] for line in written(entry)]
        if rest and rest not in FINAL and any(part == "attempts" for part, *_ in lines):
            rest = None
        for part, key, content in lines:
            if rest and part != "runs" and (part != "state" or (content != latest[part, key] and rest != "planned")):
                faults.append(f"entry {number} of run {run} was added, though nobody was carrying it out")
            if part in ONCE and content not in ("-", first.setdefault((part, key), content)):
                # An undo of a run that was forgotten says no more which run that was.
                _, now = rows.get((part, key), ("", ""))
                undone = [(now or "").replace('"undoes": null', f'"undoes": {one}') for one in gone]
                if part != "runs" or first[part, key] not in map(sha256, undone):
                    faults.append(f"row {key} of {part} of run {run} was written again")
            latest[part, key] = content
        if run and known.get(before) in AT_REST:
            rest = known[before]
    return faults, latest


def told(run, rows, entries):
    """The line of a run, made from its rows."""

    def moment(time):
        return time and f"{time[:19]}+00:00"

    def length(ids):
        return ids.count(",") + 1 if ids and ids != "{}" else 0

    mine = {}
    for (part, key), (_, content) in rows.items():
        if content:
            mine.setdefault(part, {})[int(key)] = json.loads(content)
    facts = {**mine["runs"][run], **mine["state"][run], "run": run, "carried_out_by": [], "moves": []}
    facts["planned_at"] = facts.pop("created_at")
    for name in ("planned_at", "withdrawn_at", "finished_at"):
        facts[name] = moment(facts[name])
    del facts["attempt"]
    for number, one in sorted(mine.get("attempts", {}).items()):
        ended = {"ended_at": None, "stopped_because": None, **mine.get("ends", {}).get(number, {})}
        attempt = {**one, **ended, "attempt": number, "by": one["carried_out_by"]}
        for name in ("started_at", "ended_at"):
            attempt[name] = moment(attempt[name])
        del attempt["carried_out_by"]
        facts["carried_out_by"].append(attempt)
    moves = {}
    for position, chunk in mine.get("chunks", {}).items():
        result = mine.get("results", {}).get(position) or {"done_at": None, "left_alone": None, "locked": None}
        left_alone, locked = length(result["left_alone"]), length(result["locked"])
        tokens = length(chunk["token_ids"])
        move = moves.setdefault((chunk["old_expires_at"], chunk["new_expires_at"]), [0, 0, 0, 0])
        changed = (tokens if result["done_at"] else 0) - left_alone - locked
        for place, count in enumerate((tokens, changed, left_alone, locked)):
            move[place] += count
    for (old, new), counts in moves.items():
        numbers = zip(("tokens", "changed", "left_alone", "locked"), counts)  # noqa: B905 - older Pythons lack strict
        facts["moves"].append({"old_expires_at": old, "new_expires_at": new, **dict(numbers)})
    facts.update(entries=len(entries), chain=entries[-1]["chain"] if entries else None)
    return facts


def in_order(facts):
    """The same with moves in an order that no database decides."""
    return {**facts, "moves": sorted(facts["moves"], key=lambda move: json.dumps(move, sort_keys=True))}


def check(head, *lines):
    faults = []
    runs, rows, entries, end = read(lines)
    if end != {"lines": len(lines) + 1, "sha256": sha256(head + "".join(lines[:-1]))}:
        faults.append("the file is not as it was made")
    journal = [(*line, entry["written_at"]) for entry in entries[0] for line in written(entry)]
    first = max((int(key) for part, key, *_ in journal if part == "before"), default=0)
    known, latest = {}, {}
    for part, key, content, state, at in journal:
        if part == "run":
            known.setdefault(int(key), {})[content] = state
            latest[int(key)] = content, at
    gone = [run for run, (content, _) in latest.items() if content == "-"]
    covered = {0, *(run for run, one in runs.items() if one["chain"] or (first and not 0 < run < first))}
    for run in sorted({*covered, *entries}):
        mine = rows.get(run, {})
        found, entered = check_entries(run, entries.get(run, []), known.get(run, {}), gone, mine)
        faults += found
        if run not in covered:
            faults.append(f"run {run} has entries, and is missing")
        for part, key in entered.keys() | mine.keys():
            if part not in ("before", "run") and entered.get((part, key), "-") != mine.get((part, key), "-")[0]:
                faults.append(f"row {key} of {part} of run {run} was changed, removed or added")
        if run in runs and latest.get(run, [""])[0] not in [entry["chain"] for entry in entries.get(run, [])]:
            faults.append(f"run {run} has not the entries that the journal knows of")
    for run, one in runs.items():
        if in_order(one) != in_order(told(run, rows.get(run, {}), entries.get(run, []))):
            faults.append(f"the line of run {run} says something else than its rows")
    for run, (content, at) in latest.items():
        if run not in covered and content != "-" and at >= (json.loads(head)["since"] or ""):
            faults.append(f"run {run} is missing")
    older = len(runs) - len(covered) + 1
    return sorted(faults), (
        f"Runs that are as they were written: {len(covered) - 1} ({sum(map(len, rows.values()))} rows); "
        f"from before revision 4, not covered: {older}; forgotten by journal.prune: {len(gone)}."
    )


if __name__ == "__main__":
    try:
        with open(sys.argv[1], encoding="ascii") as file:
            found, checked = check(*file)
    except Exception as error:
        found = [f"the file cannot be checked: {error}"]
    print("\n".join(found) or checked)
    sys.exit(bool(found))
