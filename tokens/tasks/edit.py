"""`edit`: extend or remove the expiration dates of tokens in a conversation."""

import invoke

from tokens.tasks.target_option import TARGET_HELP, locate
from tokens.tasks.task import task
from tokens.terminal import console


@task(help={"target": TARGET_HELP})
def edit(context: invoke.Context, target: str = "") -> None:
    """Extend or remove expiration dates in a conversation."""
    console.require_terminal("edit", "analyze")
    from tokens.tasks.edit_conversation import EditConversation

    EditConversation(locate(context, target)).hold()
