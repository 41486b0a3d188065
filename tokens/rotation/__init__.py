"""A token's successor: found who needs one, planned, created, and the old token retired, each step in the journal."""

AGENT = "rotation-agent"
"""The word by which the program becomes the side of a rotation that is in a container; no task is called so."""
