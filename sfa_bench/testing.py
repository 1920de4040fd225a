"""Contract tests for classes and functions of a user's own."""
