"""What hides the secrets of a call in texts."""
