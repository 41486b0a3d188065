"""The version of this program. A leaf: to ask for it imports no tasks."""

__version__ = "0.1.0"
