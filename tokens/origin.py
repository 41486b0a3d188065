"""Who carries a change out, as far as this process can tell: for the record, never for a decision about rights."""

import os
import pwd
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

CALLER_VARIABLE = "GITLAB_TOKENS_CALLER"
CONTEXT = " (context "  # how a caller came into a pod follows this, behind their account and host
OUTSIDE = "outside "  # begins `process` where that is the caller's, on the caller's machine
LONGEST = 200  # characters of anything that somebody else has written


@dataclass(frozen=True)
class Origin:
    """Where a change comes from. `caller` is what a wrapper on another machine claims; nothing proves it.

    `container` is the container's or pod's name where this process runs in one, as the kernel knows it. `process` is
    this very process, so that another one that finds its record later on the same machine can tell whether it lives.
    """

    user: str
    sudo_user: str | None
    host: str
    container: str | None
    caller: str | None
    process: str

    def as_dict(self) -> dict[str, str]:
        """What is known, for the journal; the process apart."""
        return {name: value for name, value in asdict(self).items() if value and name != "process"}

    def __str__(self) -> str:
        return described(self.as_dict())


def described(origin: Mapping[str, str]) -> str:
    """One line on who it was, from what `as_dict` has kept."""
    who = origin.get("user", "somebody")
    if origin.get("sudo_user"):
        who = f"{origin['sudo_user']} (sudo, as {who})"
    where = f"in container {origin['container']}" if origin.get("container") else f"on {origin.get('host')}"
    claim = f", called by {origin['caller']}" if origin.get("caller") else ""
    return f"{who} {where}{claim}"


def person(origin: Mapping[str, str]) -> str:
    """Who it was, to distinguish one person from another: by no more than what `as_dict` has kept.

    That is who was there before sudo, or before a container was entered, else the account. Nothing proves it: who may
    become root can claim to be anybody.
    """
    claim, _, _ = origin.get("caller", "").partition(CONTEXT)  # a context's name may have an @ of its own
    account, at, _ = claim.rpartition("@")  # so may an account of a domain, and no host has one
    return origin.get("sudo_user") or (account if at else claim) or origin.get("user", "somebody")


def machine_outside(origin: Mapping[str, str], process: str) -> str | None:
    """The machine from which a run is carried out, where its process is the caller's; None where it is not known."""
    claim, _, _ = origin.get("caller", "").partition(CONTEXT)
    _, at, machine = claim.rpartition("@")
    return machine if at and process.startswith(OUTSIDE) else None


def here() -> Origin:
    """This process's origin. To be asked before the process becomes the GitLab user."""
    host = socket.gethostname()
    return Origin(
        user=_user(),
        sudo_user=_short(os.environ.get("SUDO_USER")),
        host=host,
        container=host if _in_container() else None,
        caller=_short(os.environ.get(CALLER_VARIABLE)),
        process=_process(),
    )


def is_dead(process: str) -> bool:
    """Whether `process` ran on this very machine and is gone; False where that cannot be seen from here."""
    try:
        *kernel, number, beginning = process.split()
        if " ".join(kernel) != _kernel():
            return False
        try:
            return _beginning(int(number)) != beginning
        except FileNotFoundError:  # it has ended, or /proc hides it
            os.kill(int(number), 0)
            return False
    except ProcessLookupError:
        return True
    except (OSError, ValueError, OverflowError):
        return False  # one that this account may not look at, or none of ours


def _process() -> str:
    """This process, empty where the system has no Linux /proc to tell it by."""
    try:
        return f"{_kernel()} {os.getpid()} {_beginning(os.getpid())}"
    except OSError:
        return ""


def _kernel() -> str:
    """What processes have in common that can see each other: this boot of the machine, and the PID namespace."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return f"{boot} {os.stat('/proc/self/ns/pid').st_ino}"


def _beginning(number: int) -> str:
    """When the process began, in clock ticks since the boot, because numbers come again."""
    # The name in the second field may hold blanks and brackets.
    state, *fields = Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()
    return "ended" if state in "ZX" else fields[18]


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"#{os.getuid()}"


def _in_container() -> bool:
    return (
        Path("/.dockerenv").exists() or Path("/run/.containerenv").exists() or "KUBERNETES_SERVICE_HOST" in os.environ
    )


def _short(text: str | None) -> str | None:
    # What is not UTF-8 would be refused by the database.
    return text[:LONGEST].encode(errors="replace").decode() if text else None
