"""Measure the program, against psql where it can."""
