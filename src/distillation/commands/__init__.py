"""What is done with all parts: run, verify, publish, show."""
