#!/usr/bin/env python3
"""Check the chain of a file of evidence: whether a row was changed, removed or added. Nothing but Python 3 is needed.

python3 evidence.ndjson.chain.py evidence.ndjson

It reads rows and the entries that prove them. The lines that tell of runs are not looked at: the other program compares
them with their rows.
"""

import hashlib
import json
import sys


def sha256(text, before=""):
    return hashlib.sha256(bytes.fromhex(before) + text.encode("utf-8", "surrogateescape")).hexdigest()


def check(head, *lines):
    if json.loads(lines[-1]) != {"end": {"lines": len(lines) + 1, "sha256": sha256(head + "".join(lines[:-1]))}}:
        yield "the file is not as it was made"
    ends, rows, written, chains, named, first = {}, {}, {}, {0: [""]}, {}, 0  # run 0 is the journal itself
    for kind, one in (pair for line in lines[:-1] for pair in json.loads(line).items()):
        if kind == "run":
            ends[one["run"]] = one["chain"]
        elif kind == "row":
            if (one["run"], one["part"], one["key"]) in rows:
                yield f"Run {one['run']}: row {one['key']} of {one['part']} is there twice"
            rows[one["run"], one["part"], one["key"]] = sha256(one["content"])
        elif kind == "entry":
            chain = chains.setdefault(one["run"], [""])
            chain.append(sha256("{run} {number} {written_at}\n{written}".format(**one), chain[-1]))
            if (one["number"], one["chain"]) != (len(chain) - 1, chain[-1]):
                yield f"Run {one['run']}: entry {one['number']} was changed, or one before it is missing"
                continue
            for part, keys, content, *_ in (line.split(" ") for line in one["written"].split("\n")):
                if part == "before":  # runs below this number are older than the chain
                    first = int(keys)
                elif part == "run":  # the journal names the last entry of a run; "-" where the run was forgotten
                    named.setdefault(int(keys), []).append((content, one["written_at"]))
                else:
                    written.update(((one["run"], part, key), content) for key in keys.split(","))
    older = {run for run in ends.keys() - named.keys() if not ends[run] and (not first or 0 < run < first)}
    since = json.loads(head)["since"] or ""
    for run in sorted((ends.keys() | named.keys() | chains.keys()) - older - {0}):
        chain, names = chains.get(run, []), named.get(run, [(None, "")])
        is_left_out = not (run in ends or run in chains) and (names[-1][0] == "-" or names[-1][1] < since)
        is_whole = chain[-1:] == [ends.get(run)] and {name for name, _ in names} <= {*chain}
        if not (is_left_out or is_whole):
            yield f"Run {run}: the run or entries of it are missing, or were added"
    for run, part, key in sorted({**rows, **written}):
        if run not in older and rows.get((run, part, key)) != written.get((run, part, key)):
            yield f"Run {run}: row {key} of {part} was changed, removed or added"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"Usage: python3 {sys.argv[0]} EVIDENCE")
    lines = []
    try:
        with open(sys.argv[1], encoding="ascii") as file:
            lines = list(file)
        faults = list(check(*lines)) if lines[1:] else ["the file is not as it was made"]
        faults = [fault.replace("Run 0:", "The journal:") for fault in faults]
    except Exception as error:
        faults = [f"the file cannot be checked: {error}"]
    rows = sum(line.startswith('{"row"') for line in lines)
    older = sum(line.startswith('{"run"') and '"chain": null' in line for line in lines)
    covered = f"Each row that the chain covers is as it was written. Rows: {rows}. Not covered: {older} runs."
    since = None if faults else json.loads(lines[0])["since"]
    print(
        "\n".join(faults)
        or covered + (f" Runs of which nothing was written since {since} are not in it." if since else "")
    )
    sys.exit(bool(faults))
