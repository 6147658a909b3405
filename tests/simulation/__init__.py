"""A simulated SMTP server, and the protocol core run against it without a socket."""
