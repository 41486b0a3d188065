"""Handing a new token over: into a file, to a command, or on standard output.

What can be wrong with a destination is found out before a token is made, as far as that can be.
"""
