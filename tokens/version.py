"""The version of this program. A leaf: whoever asks for it should not import the tasks."""

__version__ = "0.1.0"
