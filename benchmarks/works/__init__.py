"""What is measured: the cases, a table for each kind of work."""
