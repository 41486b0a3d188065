"""How results look: pure functions from dataclasses to text, JSON and CSV."""
