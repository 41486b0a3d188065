"""The options that several tasks have, each described once."""
