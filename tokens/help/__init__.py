"""What `gitlab-tokens` says about itself: its pages, the man page, completion, and what was meant by a mistake."""
