"""The option `--target`: what it says about itself, and the database that it leads to."""

import sys
from pathlib import Path
from typing import TextIO

import invoke

from tokens.address import Address
from tokens.errors import UsageError
from tokens.targets import demo
from tokens.targets.target import DatabaseTarget, DemoTarget, parse_target
from tokens.terminal.steps import Steps

TARGET_HELP = (
    "Where GitLab is: demo, postgresql://USER@HOST:PORT/DBNAME or a name from tokens.targets in Invoke's "
    "configuration. Default: INVOKE_TOKENS_TARGET, then tokens.target in the configuration."
)


def locate(context: invoke.Context, target: str) -> Address:
    """The database that the option, the environment or the configuration names, started first if it is the demo's."""
    tokens = context.config.tokens
    match parse_target(target or str(tokens.target or ""), tokens.targets or {}):
        case DatabaseTarget(address):
            return address
        case DemoTarget():
            return demo.open(demo_directory(context), report_to(sys.stderr))


def report_to(stream: TextIO | None) -> demo.Report:
    """Show on `stream` what the demo is doing, while somebody waits for it."""
    steps = Steps(stream)
    return lambda progress: steps.show(progress.text, progress.done, progress.total)


def demo_directory(context: invoke.Context) -> Path | None:
    """The folder that the configuration gives the demo, None for the usual one."""
    directory = context.config.tokens.demo.directory
    try:
        return Path(str(directory)).expanduser() if directory else None
    except RuntimeError:
        raise UsageError(f"tokens.demo.directory names nobody's home: {directory}.") from None
