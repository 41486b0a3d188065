"""What there is: questions to the database, which change nothing."""
