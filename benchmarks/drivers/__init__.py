"""The clients that do the work: one driver each, for the same jobs."""
