"""`ns`: the names under which Invoke finds the tasks."""

import invoke

from tokens.tasks.groups import bundle, demo, journal
from tokens.tasks.main import (
    analyze,
    apply,
    breakdown,
    check,
    doctor,
    edit,
    evidence,
    extend,
    forecast,
    history,
    list_tokens,
    remove,
    report,
    revoke,
    rotate,
    simulate,
    targets,
    undo,
    used,
    whose,
    withdraw,
)
from tokens.terminal import console
from tokens.terminal.debug_log import hide_addresses

# Here, since Invoke's own `inv` parses, logs and prints help before any task of ours begins.
hide_addresses()
console.write_anything()

ns = invoke.Collection(
    "tokens",
    analyze,
    list_tokens,
    forecast,
    breakdown,
    report,
    check,
    whose,
    used,
    simulate,
    edit,
    extend,
    remove,
    revoke,
    apply,
    withdraw,
    undo,
    rotate,
    history,
    evidence,
    doctor,
    targets,
    journal,
    bundle,
    demo,
)
