"""What runs the caller's code: hooks, token functions, log handlers."""
