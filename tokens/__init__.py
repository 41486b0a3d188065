"""Token administration for self-managed GitLab."""

from typing import TYPE_CHECKING, Any

from tokens.version import __version__

if TYPE_CHECKING:
    from tokens.namespace import ns

__all__ = ["__version__", "ns"]


def __getattr__(name: str) -> Any:
    """`ns` only when asked for, so that using the capabilities from Python needs no Invoke."""
    if name == "ns":
        from tokens.namespace import ns

        return ns
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
