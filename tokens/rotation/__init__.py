"""A token's successor: found who needs one, planned, created, and the old token retired, each step in the journal."""
