"""The octets of one connection: writing, reading, and TLS."""
