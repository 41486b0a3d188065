"""Figures as they come, one a line, and whether they meet the goals that some of them have."""

import time
from collections.abc import Callable, Sequence

_missed: list[str] = []


def say(what: str, figure: str, remark: str = "") -> None:
    """Print one figure."""
    print(f"{what:36} {figure:>36}  {remark}".rstrip(), flush=True)


def judge(what: str, value: float, at_most: float, *, unit: str = "", places: int = 2, remark: str = "") -> None:
    """Print one figure that has a goal, and remember it if it misses that."""
    verdict = f"goal: at most {at_most:g}{unit}"
    if value > at_most:
        verdict += ", MISSED"
        _missed.append(what)
    say(what, f"{value:,.{places}f}{unit}", f"{remark}; {verdict}" if remark else verdict)


def missed() -> Sequence[str]:
    """The figures that have missed their goals so far."""
    return tuple(_missed)


def seconds(values: Sequence[float]) -> str:
    """Several times side by side, in the order in which they were taken."""
    return " ".join(f"{value:.1f}" for value in values) + " s"


def timed(work: Callable[[], object]) -> float:
    """How many seconds `work` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
