"""Integrations with frameworks: one module for each, most with an extra of that name."""
