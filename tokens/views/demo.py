"""How the demo's state looks: a screen."""

from tokens.targets.demo import DemoState, DemoStatus


def screen(status: DemoStatus) -> str:
    """What there is of the demo in lines, without the last newline."""
    rows = {
        "Demo": status.state.value,
        "Folder": status.folder,
        "GitLab": status.release,
        "PostgreSQL": status.server_version,
        "Tokens": status.tokens
        and f"{status.tokens:,} that expire on {status.expires_at}, and others around {status.filled_on}",
        "Size": status.size and f"{status.size // 10**6} MB",
        "GitLab's API": f"{status.api or 'started by rotate'}: a stand-in that looks tokens up, and nothing else"
        if status.state is DemoState.READY
        else None,
        "Connect": f'psql "{status.address.conninfo}"' if status.state is DemoState.READY else None,
    }
    return "\n".join(f"{name:<14}{value}" for name, value in rows.items() if value is not None)
