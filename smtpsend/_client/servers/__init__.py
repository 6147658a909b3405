"""Several servers: the next is tried where the message cannot have been accepted."""
