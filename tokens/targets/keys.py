"""The db_key_base of a GitLab that was found, wherever that keeps it."""

from tokens.errors import UsageError
from tokens.gitlab.digest import Keys
from tokens.targets.demo.secrets import secrets_file
from tokens.targets.here.secrets import read_keys, read_keys_file
from tokens.targets.here.site import Site


def keys_of(site: Site) -> Keys:
    """The keys with which this GitLab digests tokens.

    Raises:
        Refused: this user may not read them.
        UsageError: they are not there, as beside a bare database, or cannot be read as GitLab reads them.
    """
    if site.demo is not None:
        return read_keys_file(secrets_file(site.demo))
    if site.installation is None:
        raise UsageError(
            "A database does not hold GitLab's db_key_base, with which tokens are digested: use --secrets-file with a "
            "copy of its secrets.yml or gitlab-secrets.json."
        )
    return read_keys(site.installation)
