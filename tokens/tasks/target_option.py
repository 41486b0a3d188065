"""The option `--target` that every task has, and what becomes of it."""

import sys

import invoke

from tokens.address import Address
from tokens.targets.target import DatabaseTarget, DemoTarget, parse_target

TARGET_HELP = (
    "Where GitLab is: demo, postgresql://USER@HOST:PORT/DBNAME or a name from tokens.targets in Invoke's "
    "configuration (also: INVOKE_TOKENS_TARGET)."
)


def locate(context: invoke.Context, target: str) -> Address:
    """The database that the option, the environment or the configuration names, started first if it is the demo's."""
    tokens = context.config.tokens
    match parse_target(target or tokens.target or "", dict(tokens.targets or {})):
        case DatabaseTarget(address):
            return address
        case DemoTarget():
            from tokens.targets import demo

            return demo.open(report=lambda event: print(event, file=sys.stderr))
