"""Every option that a task has, described once, by what it is about."""
