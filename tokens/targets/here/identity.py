"""As whom this process runs: becoming the GitLab user, for good, where root started it.

GitLab's PostgreSQL knows people on its socket by their account (peer authentication), and root has no role there.
"""

import os
import pwd
import subprocess
import sys
from importlib.util import find_spec

from tokens.errors import Refused

# What may still be imported after the change: each must lie where the GitLab user can read it.
LATER = ("tokens", "psycopg", "psycopg_binary", "yaml", "prompt_toolkit", "sqlalchemy", "alembic")


def become(user: str, private: str) -> None:
    """Run as `user` from now on; nothing is done where that is so already.

    Args:
        user: GitLab's account.
        private: the place that only root and that account may read, for the message.

    Raises:
        Refused: neither root nor that user, no such account, or the program lies where that user cannot read it.
    """
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
        return
    if os.geteuid() != 0:
        raise Refused(f"Run this as root (sudo) or as the GitLab user {user}: {private} is private.")
    _check_reach(account)
    os.initgroups(user, account.pw_gid)
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
    # libpq looks at home for certificates and passwords, and root's home is closed from now on.
    os.environ |= {"HOME": account.pw_dir, "USER": user, "LOGNAME": user}
    os.chdir("/")


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
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise Refused(
            f"This program must go on as the GitLab user {account.pw_name}, who cannot read {done.stdout.strip()}; "
            "install it where everybody can read it, such as /opt/gitlab-tokens."
        )
