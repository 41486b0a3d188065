"""What happens when a task is called: plain functions, frozen options and an Environment in, an Ending out."""
