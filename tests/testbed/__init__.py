"""What is no test: servers, engines, accounts, clusters, screens, and what is put into them. See tests/README.md."""
