"""What stands where an owner would, for tokens that have none."""

from tokens.gitlab.kind import Kind

OF_USERS = frozenset({"User", *Kind} - {Kind.PROJECT, Kind.GROUP})


def nobody(whose: str | None) -> str:
    """Why there is no owner: a bot is in no project or group, or a user's row is gone or has no username.

    `whose` is the token's kind, or the type of the owner that is meant, None for a bot that belongs nowhere.
    """
    return "no such user" if whose in OF_USERS else "no membership"
