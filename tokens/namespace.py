"""`ns`: the names under which Invoke finds the tasks."""

import invoke

from tokens.cli.called import is_invoke_running
from tokens.tasks.change import edit, extend, remove, revoke
from tokens.tasks.demo import demo
from tokens.tasks.look import analyze, breakdown, check, forecast, list_tokens, report, simulate, used, whose
from tokens.tasks.record import apply, evidence, history, journal, undo, withdraw
from tokens.tasks.rotate import rotate
from tokens.tasks.set_up import bundle, doctor, targets
from tokens.terminal import console
from tokens.terminal.debug_log import hide_addresses

# Here, since Invoke's own `inv` parses, logs and prints help before any task of ours begins.
hide_addresses()
if is_invoke_running():
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
