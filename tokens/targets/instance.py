"""What the GitLab is called that a command works on."""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Instance:
    """The GitLab that a command works on, as far as it is known; each None where it is not.

    Attributes:
        url: its own, such as `https://gitlab.example.com`.
        database: its database as messages show it, without a password.
        target: the words that say where it is.
        release: its version, such as `17.11.1-ee`.
        place: what it is called where neither its URL nor its database is known, such as `container gitlab`.
    """

    url: str | None = None
    database: str | None = None
    target: str | None = None
    release: str | None = None
    place: str | None = None

    @property
    def name(self) -> str | None:
        """The host of its URL, else its database.

        >>> Instance(database="postgresql://git@db.example.com/gitlabhq_production").name
        'database gitlabhq_production on db.example.com'
        """
        if self.url is not None:
            parts = urlsplit(self.url)
            return f"{parts.netloc}{parts.path}".rstrip("/") or self.url
        if self.database is None:
            return self.place
        _, _, rest = self.database.rpartition("@")
        host, slash, name = rest.rpartition("://")[2].rpartition("/")
        if not slash:
            return self.database
        return f"database {name}{f' on {host}' if host else ''}"

    @property
    def _target_tells_more(self) -> bool:
        """Whether its target says what its name does not; an address is the database once more."""
        return self.target is not None and "://" not in self.target and self.target not in (self.name or "")

    def __str__(self) -> str:
        """Such as `gitlab.example.com (target prod, GitLab 19.2)`."""
        number = re.match(r"\d+\.\d+", self.release or "")
        known = [
            *([f"target {self.target}"] if self._target_tells_more else []),
            *([f"GitLab {number[0]}"] if number else []),
        ]
        more = f" ({', '.join(known)})" if known else ""
        return f"{self.name or 'this GitLab'}{more}"
