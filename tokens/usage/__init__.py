"""What GitLab's API log says about the use of tokens: files in, counts out, without database, terminal or Invoke."""
