"""What `rotate` needs of the journal, until it has rooms of its own."""

from tokens.journal.beginning import resume
from tokens.journal.opening import TIMEOUTS as STORE_TIMEOUT

__all__ = ["STORE_TIMEOUT", "resume"]
