"""A real Docker engine for tests, and containers in it that look like GitLab's."""
