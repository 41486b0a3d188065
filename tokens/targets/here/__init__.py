"""The GitLab that is installed right here."""
