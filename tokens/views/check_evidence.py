#!/usr/bin/env python3
"""Check a file of evidence: each row by its entry, each entry by the one before. Nothing but Python 3 is needed.

python3 evidence.ndjson.check.py evidence.ndjson
"""

import hashlib
import json
import re
import sys


def sha256(text, before=""):
    return hashlib.sha256(bytes.fromhex(before) + text.encode("utf-8", "surrogateescape")).hexdigest()


def check(head, *lines):
    faults, end, runs, chains, entered, rows, stored, told, first = [], {}, {}, {}, {}, {}, {}, {}, 0
    for line in lines:
        ((kind, one),) = json.loads(line).items()
        if kind == "run":
            runs[one["run"]] = one
        elif kind == "row":
            rows[one["run"], one["part"], one["key"]] = sha256(one["content"])
            if one["part"] in ("runs", "state"):
                told.setdefault(one["run"], {}).update(json.loads(one["content"]))
            elif one["part"] == "attempts":
                by = json.loads(one["content"])["carried_out_by"]
                told.setdefault(one["run"], {}).setdefault("attempts", []).append(by)
        elif kind == "end":
            end = one
        else:
            known = chains.setdefault(one["run"], [""])
            text = "{run} {number} {written_at}\n{written}".format(**one)
            if one["number"] != len(known) or one["chain"] != sha256(text, known[-1]):
                faults.append("entry {number} of run {run} was changed, or one before it is missing".format(**one))
            known.append(one["chain"])
            for part, keys, content in re.findall("^([a-z]+) ([0-9,]+) ([0-9a-f]+|-)$", one["written"], re.M):
                for key in filter(None, keys.split(",")):
                    if (one["run"], part) == (0, "before"):
                        first = int(key)
                    elif (one["run"], part) == (0, "run"):
                        stored[int(key)] = content, stored.get(int(key), ("", one["written_at"]))[1]
                    else:
                        entered[one["run"], part, key] = content
    covered = {0, *(run for run, one in runs.items() if one["chain"] or (first and not 0 < run < first))}
    for place in entered.keys() | rows.keys():
        if place[0] in covered and entered.get(place, "-") != rows.get(place, "-"):
            faults.append("row {2} of {1} of run {0} was changed, removed or added".format(*place))
    for run in covered - {0}:
        known, one, proven = chains.get(run, [""]), runs[run], told.get(run, {})
        if one["chain"] != known[-1] or stored.get(run, [""])[0] not in known[1:]:
            faults.append(f"run {run} has not the entries that the journal knows of")
        same = [one[name] == proven[name] for name in one.keys() & proven if not name.endswith("_at")]
        if not all(same) or [attempt["by"] for attempt in one["carried_out_by"]] != proven.get("attempts", []):
            faults.append(f"the line of run {run} says something else than its rows")
    for run, (content, at) in stored.items():
        if run not in covered and content != "-" and at >= (json.loads(head)["since"] or ""):
            faults.append(f"run {run} is missing")
    if end != {"lines": len(lines) + 1, "sha256": sha256(head + "".join(lines[:-1]))}:
        faults.append("the file is not as it was made")
    older = len(runs) - len(covered) + 1
    gone = [run for run, (content, _) in stored.items() if content == "-"]
    return sorted(faults), (
        f"Runs that are as they were written: {len(covered) - 1} ({len(rows)} rows); "
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
