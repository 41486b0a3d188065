"""A token's scopes, which Rails keeps as YAML in one column."""

import functools

import yaml

from tokens.gitlab.scopes import DEFAULT


@functools.lru_cache(maxsize=10_000)  # millions of tokens have a few hundred lists
def scopes_of(stored: str) -> tuple[str, ...]:
    r"""The scopes that Rails has stored as YAML, symbols or texts; what is no list of texts comes back as it is.

    GitLab takes an empty list for `api`.

    >>> scopes_of("---\n- :api\n- 'read_user'\n"), scopes_of("--- []\n")
    (('api', 'read_user'), ('api',))
    """
    try:
        # The base loader makes texts of everything, tags of Ruby's included: it can neither fail on one nor run it.
        listed = yaml.load(stored, Loader=yaml.BaseLoader)  # noqa: S506
    except yaml.YAMLError:
        listed = stored
    if not listed:
        return (DEFAULT,)
    if not isinstance(listed, list) or not all(isinstance(scope, str) for scope in listed):
        return (" ".join(stored.split()),)
    # Ruby takes `:"sudo"` for a symbol, YAML for a text with quotes.
    return tuple(scope[1:].strip("\"'") if scope.startswith(":") else scope for scope in listed)
