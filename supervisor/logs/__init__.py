"""Log records and captured output of all processes of a pool."""
