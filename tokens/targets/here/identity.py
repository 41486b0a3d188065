"""As whom this process runs: becoming the GitLab user, for good, where root started it.

GitLab's PostgreSQL knows people on its socket by their account (peer authentication), and root has no role there.
"""

import os
import pwd
import subprocess
import sys
from importlib.util import find_spec

from tokens.errors import Refused

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LOCALE = ("LANG", "LANGUAGE", "TZ")  # and LC_…

_root_has_become: str | None = None  # the account, once `become` has changed this process

# What may still be imported after the change: each must lie where the GitLab user can read it.
LATER = ("tokens", "psycopg", "psycopg_binary", "yaml", "prompt_toolkit", "sqlalchemy", "alembic")


def become(user: str, private: str) -> bool:
    """Run as `user` from now on; nothing is done where that is so already. Whether this has changed anything.

    The folder stays, as with `sudo -u`: a path that was typed counts from there, also where `user` may not enter it.

    What root's environment holds stays in this process: the kernel lets no other process of `user` look into one that
    has changed its account (proc(5): it is not dumpable). A program that it starts can be looked into, so programs of
    GitLab's get `child_environment`.

    Args:
        user: GitLab's account.
        private: the place that only root and that account may read, for the message.

    Raises:
        Refused: neither root nor that user, no such account, or the program lies where that user cannot read it.
    """
    global _root_has_become
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        raise Refused(
            f"GitLab's account {user} does not exist on this machine; check GitLab's configuration."
        ) from None
    if account.pw_uid == 0:
        raise Refused(
            f"GitLab never runs as root, but {private} would have it so; check GitLab's user and that file's owner and "
            "group (app_user in /etc/default/gitlab names the account of an installation from source)."
        )
    if os.geteuid() == account.pw_uid:
        return False
    if os.geteuid() != 0 and _root_has_become is not None:
        raise Refused(
            f"An earlier task of this call has become {_root_has_become} for good, and cannot become {user}: run this "
            "task in a call of its own."
        )
    if os.geteuid() != 0:
        raise Refused(f"Run this as root (sudo) or as the GitLab user {user}: {private} is private.")
    _check_reach(account)
    os.initgroups(user, account.pw_gid)
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    # libpq looks at home for certificates and passwords, and root's home is closed from now on.
    os.environ |= {"HOME": account.pw_dir, "USER": user, "LOGNAME": user}
    _root_has_become = user
    return True


def became() -> str | None:
    """The account that root has become in this process, None where it has become none."""
    return _root_has_become


def child_environment() -> dict[str, str]:
    """The environment for a program that GitLab's configuration names, such as a `config_command`.

    It is this process's own. But where root has become GitLab's account, nothing of root's goes along but language and
    time zone: other processes of that account can read it in /proc, and root's credentials are none of their business.
    """
    if _root_has_become is None:
        return dict(os.environ)
    account = pwd.getpwnam(_root_has_become)
    kept = {name: value for name, value in os.environ.items() if name in LOCALE or name.startswith("LC_")}
    own = {"PATH": SYSTEM_PATH, "HOME": account.pw_dir, "USER": account.pw_name, "LOGNAME": account.pw_name}
    return kept | own


def leave_a_closed_home() -> None:
    """Take this account's own home for one that it may not enter, as `runuser -u git` leaves it: HOME is root's then.

    libpq looks there for certificates, and a folder that it may not enter is an error to it, unlike one without any.
    """
    if not _is_closed(os.environ.get("HOME", "")):
        return
    try:
        home = pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        home = "/"
    os.environ["HOME"] = "/" if _is_closed(home) else home


def _is_closed(home: str) -> bool:
    try:
        os.stat(os.path.join(home, ".postgresql", "root.crt"))
    except PermissionError:
        return bool(home)
    except OSError:
        pass
    return False


def account_name() -> str | None:
    """The name of the account that this process runs as; None where its number has none, as in some pods."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return None


def _check_reach(account: pwd.struct_passwd) -> None:
    specs = filter(None, map(find_spec, LATER))
    paths = [sys.executable, *(spec.origin for spec in specs if spec.origin)]
    done = subprocess.run(
        ["/bin/sh", "-c", 'for path; do test -r "$path" || { echo "$path"; exit 1; }; done', "sh", *paths],
        user=account.pw_uid,
        group=account.pw_gid,
        extra_groups=os.getgrouplist(account.pw_name, account.pw_gid),
        cwd="/",
        env={},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise Refused(
            f"This program has to run as the GitLab user {account.pw_name}, who cannot read {done.stdout.strip()}; "
            "install it where everybody can read it, such as /opt/gitlab-tokens."
        )
