"""How the targets look: a list and JSON."""

from tokens.targets.instance import Instance
from tokens.targets.known import Known
from tokens.terminal.printable import printable
from tokens.views import document


def screen(known: Known) -> str:
    """One line for each target, the default marked, and where the default comes from."""
    width = max(len(printable(target.name)) for target in known.targets)
    lines = [
        f"{'*' if target.name == known.default else ' '} {printable(target.name):<{width}}  {printable(target.text)}"
        for target in known.targets
    ]
    if known.default is None:
        said = (
            "There is no default, since no GitLab is installed right here. Use --target, INVOKE_TOKENS_TARGET, or "
            "tokens.target in ~/.invoke.yaml."
        )
    else:
        said = f"The default (*) comes from: {printable(known.source)}."
    return "\n".join([*lines, "", said])


def as_json(known: Known) -> str:
    """The same for programs."""
    return document.text(
        Instance(),
        {
            "default": known.default,
            "source": known.source or None,
            "targets": [{"name": target.name, "target": target.text} for target in known.targets],
        },
    )
