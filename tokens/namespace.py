"""`ns`: the names under which Invoke finds the tasks, and the defaults of their configuration."""

import invoke

from tokens.tasks import bundle, demo, journal
from tokens.tasks.analyze import analyze
from tokens.tasks.apply import apply, undo
from tokens.tasks.doctor import doctor
from tokens.tasks.edit import edit
from tokens.tasks.extend import extend, remove
from tokens.tasks.history import history
from tokens.tasks.rotate import rotate
from tokens.tasks.rotate_inside import rotate_inside

ns = invoke.Collection(
    "tokens", analyze, edit, extend, remove, apply, undo, rotate, rotate_inside, history, doctor, journal, bundle, demo
)
# One flat tree without underscores: INVOKE_TOKENS_TARGET and the like must not collide with anybody's.
ns.configure(
    {
        "tokens": {
            "target": "",
            "targets": {},
            "root": "/",
            "docker": "docker",
            "kubectl": "kubectl",
            "bundle": {"directory": ""},
            "demo": {"directory": ""},
        }
    }
)
