"""Fixtures for all tests."""

pytest_plugins = ["leaks", "servers.fixtures"]
