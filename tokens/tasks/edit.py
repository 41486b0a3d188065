"""`edit`: extend or remove the expiration dates of tokens in a conversation."""

import invoke

from tokens.errors import ExitStatus
from tokens.tasks.target_option import TARGET_HELP, locate_site
from tokens.tasks.task import task


@task(
    help={
        "target": TARGET_HELP,
        "reason": "Why, for the journal.",
        "no_journal": "Keep no record; there will be no way back and no way to go on after a stop.",
    },
    travels=True,
    without_terminal="extend or remove with --yes",
)
def edit(context: invoke.Context, target: str = "", reason: str | None = None, no_journal: bool = False) -> None:
    """Extend or remove dates in a conversation."""
    from tokens import origin
    from tokens.tasks.change_options import reason_given
    from tokens.tasks.edit_conversation import EditConversation

    why = reason_given(reason)
    # Asked before this process may become the GitLab user.
    who = origin.here()
    status = EditConversation(locate_site(context, target), who, why, journal=not no_journal).hold()
    if status is not ExitStatus.DONE:
        raise invoke.Exit(code=status)  # the conversation has said everything itself
