"""One request to an authorization server: its values, the reply, and what can fail."""
