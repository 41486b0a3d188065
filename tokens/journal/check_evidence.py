#!/usr/bin/env python3
"""Check a file of evidence: each row by its entry, each entry by the one before. Nothing but Python 3 is needed.

python3 evidence.ndjson.check.py evidence.ndjson

Who can write a run can add an entry. So what entries may say of it is bounded, too, and `journal.status` asks the same.
"""

import hashlib
import json
import re
import sys

ONCE = ("runs", "attempts", "ends", "notices", "memberships", "revocations", "names")
FINAL = ("done", "withdrawn")
AT_REST = ("planned", "stopped", "partial", *FINAL)
UNBEGUN = ("planned", "withdrawn")
TO_BE_WITHDRAWN = "to be withdrawn"  # a plan whose state was written, though nobody has begun it
TOLD = ("runs", "state", "attempts", "ends", "chunks", "results")  # the line of a run is made from these
KEY = "(?:0|[1-9][0-9]{0,17})"
LINE = re.compile(f"([a-z]+) ({KEY}(?:,{KEY})*) ([0-9a-f]{{64}}|-)(?: ([a-z]+))?")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


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
            into, key = (runs, one["run"]) if kind == "run" else (of_run, (one["part"], int(one["key"])))
            if key in into:
                raise ValueError(f"it has a {kind} twice")
            into[key] = one if kind == "run" else (sha256(one["content"]), one["part"] in TOLD and one["content"])
    return runs, rows, entries, end


def lines_of(entry):
    """What an entry says: part, key, SHA-256 (`-` where it is gone) and, of a run in the journal's chain, its state.

    None where it has a line that is never written.
    """
    found = []
    for line in entry["written"].split("\n"):
        one = LINE.fullmatch(line)
        if one is None or ("," in one[2] and one[1] != "results") or (one[4] and one[1] != "run"):
            return None
        found += [(one[1], int(key), one[3], one[4]) for key in one[2].split(",")]
    return found


def first_fault(entries):
    """Why the entries of a run are not those that were written one after the other; None as a rule."""
    before = ""
    for number, entry in enumerate(entries, 1):
        text = "{run} {number} {written_at}\n{written}".format(**entry)
        if (entry["number"], entry["chain"]) != (number, sha256(text, before)):
            return f"entry {number} was changed, or is missing"
        if lines_of(entry) is None or not TIME.fullmatch(str(entry["written_at"])):
            return f"entry {number} says what is never written"
        before = entry["chain"]
    return None


class Journal:
    """What the journal's own chain, of run 0, says.

    Attributes:
        faults: pairs of a run, 0 for the journal, and what is wrong with it.
        first: runs below this number are from before revision 4; 0 where nothing says so.
        known: of each run its states by the chains that it had; None where a state was not written yet.
        named: when each run was named last.
        gone: runs that were forgotten.
        latest: SHA-256 of each setting, by its part and key.
    """

    def __init__(self, entries):
        self.faults, self.first, self.known, self.named, self.gone, self.latest = [], 0, {}, {}, set(), {}
        fault = first_fault(entries)
        if fault:
            self.faults.append((0, fault))
            return
        for number, entry in enumerate(entries, 1):
            for part, key, content, state in lines_of(entry):
                if part == "run" and not (key in self.gone and content != "-"):
                    self._know(key, content, state)
                    self.named[key] = entry["written_at"]
                elif part == "run":
                    self.faults.append((key, "it was stored under the number of a run that was forgotten"))
                elif part == "before" and number == 1:
                    self.first = key
                elif part == "settings" and content != "-":
                    if self.latest.setdefault((part, key), content) != content:
                        self.faults.append((0, f"row {key} of settings was written again, and is written once"))
                else:
                    self.faults.append((0, f"entry {number} says what is never written"))

    def _know(self, run, content, state):
        states = self.known.setdefault(run, {})
        if content == "-":
            self.gone.add(run)
        elif state and states.get(content) not in (None, state):
            self.faults.append((run, "the journal has two states of it at once"))
        else:
            states[content] = states.get(content) or state


def check_run(run, entries, journal, content, now_is):
    """What is wrong with the entries of a run, and its latest lines.

    `content` is the text of the run's own row, and `now_is` what it has of its state: `state`, `attempt` and `changed`.
    """
    fault = first_fault(entries)
    if fault:
        return [fault], None
    known = journal.known.get(run, {})
    reader = Reader(run, known, undoing(content, journal))
    if run in journal.gone:
        reader.faults.append("it was forgotten, and is there")
    if not known or not known.keys() <= {entry["chain"] for entry in entries}:
        reader.faults.append("the journal does not know that it was stored, or with other entries")
    for entry in entries:
        reader.read(entry)
    reader.compare(now_is)
    return reader.faults, reader.latest


class Reader:
    """Reads the entries of a run in their order, and looks at what each may say after those before.

    Attributes:
        faults: what is wrong with them.
        latest: SHA-256 of each row, by its part and key.
    """

    def __init__(self, run, known, undoing):
        self.faults, self.latest = [], {}
        self._run, self._known, self._undoing = run, known, undoing
        self._first, self._whole = {}, set()  # the first SHA-256 of each row; chunks of which each token was changed
        self._attempt = 0  # the last that was begun
        self._reached = None  # the state that the journal has for the last entry
        self._rest = None  # the state in which nobody carries the run out

    def read(self, entry):
        lines = lines_of(entry)
        number = entry["number"]
        states = [key for part, key, *_ in lines if part == "state"]
        if lines[0][0] != "state" or states != [self._run] or "-" in [content for _, _, content, _ in lines]:
            self.faults.append(f"entry {number} says what is never written")
        self._begin([key for part, key, *_ in lines if part == "attempts"])
        for part, key, content, _ in lines:
            if self._rest and part != "runs" and self.latest.get((part, key)) != content:
                self._write_at_rest(part, number)
            if self._first.setdefault((part, key), content) != content and self._is_written_once(part, key):
                self.faults.append(f"row {key} of {part} was written again, and is written once")
            if part == "results" and content == all_changed_at(entry["written_at"]):
                self._whole.add(key)
            self.latest[part, key] = content
        self._reached = self._known.get(entry["chain"])
        if self._rest == TO_BE_WITHDRAWN and self._reached not in (None, "withdrawn"):
            self.faults.append(f"entry {number} was added, though nobody was carrying it out")
        if self._reached in AT_REST:
            self._rest = self._reached

    def compare(self, now_is):
        """Look at what the run's own row has of its state, after the last entry."""
        state = now_is["state"]
        if self._rest == TO_BE_WITHDRAWN and state != "withdrawn":
            self.faults.append(f"it is {state}, and nobody has begun it")
        elif self._reached not in (None, state):
            self.faults.append(f"it is {state}, and the journal knows it as {self._reached}")
        elif now_is["attempt"] != self._attempt or (state in UNBEGUN and (self._attempt or now_is["changed"])):
            last = f"{self._attempt} is the last that was begun"
            self.faults.append(f"it is {state} at attempt {now_is['attempt']}, and {last}")

    def _begin(self, attempts):
        if attempts and min(attempts) <= self._attempt:
            self.faults.append(f"attempt {min(attempts)} was written again, and is written once")
        elif attempts and self._rest not in (*FINAL, TO_BE_WITHDRAWN):
            self._rest = None
        self._attempt = max([self._attempt, *attempts])

    def _write_at_rest(self, part, number):
        if (part, self._rest) == ("state", "planned"):
            self._rest = TO_BE_WITHDRAWN
        else:
            self.faults.append(f"entry {number} was added, though nobody was carrying it out")

    def _is_written_once(self, part, key):
        if part == "runs":  # an undo of a run that was forgotten says no more which run that was
            return self._first[part, key] not in self._undoing
        results = part == "chunks" and ("results", key) in self.latest
        return part in ONCE or results or (part == "results" and key in self._whole)


def all_changed_at(time):
    """The SHA-256 of the results of a chunk of which each token was changed at this time."""
    at = time.rstrip("Z").rstrip("0").rstrip(".")
    return sha256(f'{{"locked": null, "done_at": "{at}", "left_alone": null}}')


def undoing(content, journal):
    """The SHA-256 that the row of an undo may have had while the run was there that it undid."""
    if '"undoes": null' not in content or '"kind": "undo"' not in content:
        return set()
    gone = {*journal.gone, *range(1, journal.first)}
    return {sha256(content.replace('"undoes": null', f'"undoes": {run}')) for run in gone}


def told(run, rows, entries):
    """The line of a run, made from its rows."""

    def moment(time):
        return time and f"{time[:19]}+00:00"

    def length(ids):
        return ids.count(",") + 1 if ids and ids != "{}" else 0

    mine = {}
    for (part, key), (_, content) in rows.items():
        if content:
            mine.setdefault(part, {})[key] = json.loads(content)
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


def check(head="", *lines):
    runs, rows, entries, end = read(lines)
    journal = Journal(entries.pop(0))
    faults = list(journal.faults)
    if end != {"lines": len(lines) + 1, "sha256": sha256(head + "".join(lines[:-1]))}:
        faults.append((0, "the file is not as it was made"))
    of_journal = journal.known.keys() | journal.gone
    covered = {
        run
        for run, one in runs.items()
        if one["chain"] or run in of_journal or (journal.first and not 0 < run < journal.first)
    }
    for run in sorted({0, *covered, *entries}):
        mine, latest = rows.get(run, {}), journal.latest
        if run:
            (_, content), (_, state) = (mine.get((part, run), ("", "")) for part in ("runs", "state"))
            now_is = json.loads(state) if state else {"state": None, "attempt": 0, "changed": 0}
            found, latest = check_run(run, entries.get(run, []), journal, content, now_is)
            faults += [(run, what) for what in found]
        for part, key in (latest or {}).keys() | mine.keys() if latest is not None else ():
            if latest.get((part, key)) != mine.get((part, key), (None, ""))[0]:
                faults.append((run, f"row {key} of {part} was changed, removed or added"))
    for run, one in runs.items():
        mine = rows.get(run, {})
        whole = {("runs", run), ("state", run)} <= mine.keys()
        if not whole or in_order(one) != in_order(told(run, mine, entries.get(run, []))):
            faults.append((run, "its line says something else than its rows"))
    since = json.loads(head)["since"] or ""
    missed = {run for run, at in journal.named.items() if run not in journal.gone and at >= since}
    faults += [(run, "it is missing") for run in (missed | entries.keys()) - covered]
    return [f"{f'Run {run}' if run else 'The journal'}: {what}" for run, what in sorted(faults)], (
        f"Runs that are as they were written: {len(covered)} ({sum(map(len, rows.values()))} rows); "
        f"from before revision 4, not covered: {len(runs) - len(covered)}; "
        f"forgotten by journal.prune: {len(journal.gone)}."
        + (f" Runs of which nothing was written since {since} are not in it." if since else "")
    )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        print(f"Usage: python3 {sys.argv[0]} EVIDENCE")
        sys.exit(2)
    try:
        with open(sys.argv[1], encoding="ascii") as file:
            found, checked = check(*file)
    except Exception as error:
        found = [f"the file cannot be checked: {error}"]
    print("\n".join(found) or checked)
    sys.exit(bool(found))
