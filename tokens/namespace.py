"""`ns`: the names under which Invoke finds the tasks, and the defaults of their configuration."""

import invoke

from tokens.tasks.analyze import analyze
from tokens.tasks.edit import edit

ns = invoke.Collection("tokens", analyze, edit)
ns.configure({"tokens": {"target": "", "targets": {}}})
