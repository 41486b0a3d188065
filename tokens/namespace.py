"""`ns`: the names under which Invoke finds the tasks, and the defaults of their configuration."""

import invoke

from tokens.tasks import bundle, demo
from tokens.tasks.analyze import analyze
from tokens.tasks.doctor import doctor
from tokens.tasks.edit import edit

ns = invoke.Collection("tokens", analyze, edit, doctor, bundle, demo)
# One flat tree without underscores: INVOKE_TOKENS_TARGET and the like must not collide with anybody's.
ns.configure(
    {"tokens": {"target": "", "targets": {}, "root": "/", "bundle": {"directory": ""}, "demo": {"directory": ""}}}
)
