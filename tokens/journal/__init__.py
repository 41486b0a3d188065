"""What changed, from what, by whom and why: kept in the schema `token_tasks` of GitLab's own database."""
