"""What shall change: the change itself, what it means for whom, and the plan that freezes it."""
