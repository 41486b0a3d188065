"""Commands that are typed into this very process: as quick as a function, and all that they print can be captured."""

from tokens.namespace import ns
from tokens.program import DataConfig, TokensProgram


def typed(*words: str) -> int:
    """Run `gitlab-tokens` with these words; its exit status."""
    program = TokensProgram(name="gitlab-tokens", version="0", namespace=ns, config_class=DataConfig)
    try:
        program.run(["gitlab-tokens", *words])
    except SystemExit as end:
        return int(end.code or 0)
    return 0
