"""Carrying a plan out, in short transactions, and the plans that the journal has stored."""
