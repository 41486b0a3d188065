"""Token administration for self-managed GitLab."""

from tokens.version import __version__

TYPE_CHECKING = False  # as type checkers know it, without the import of typing: a signal may come meanwhile
if TYPE_CHECKING:
    from tokens.namespace import ns

__all__ = ["__version__", "ns"]


def __getattr__(name: str) -> object:
    """`ns` only when asked for, so that using the capabilities from Python needs no Invoke."""
    if name != "ns":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from tokens.namespace import ns
    except KeyboardInterrupt:
        # Invoke would show where the import was.
        import os

        os.write(2, b"Interrupted.\n")
        raise SystemExit(130) from None
    return ns
