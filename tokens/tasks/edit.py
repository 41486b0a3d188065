"""`edit`: extend or remove the expiration dates of tokens in a conversation."""

import invoke

from tokens.tasks.target_option import TARGET_HELP, locate
from tokens.tasks.task import task


@task(help={"target": TARGET_HELP}, travels=True, without_terminal="analyze")
def edit(context: invoke.Context, target: str = "") -> None:
    """Extend or remove expiration dates in a conversation."""
    from tokens.tasks.edit_conversation import EditConversation

    EditConversation(locate(context, target)).hold()
