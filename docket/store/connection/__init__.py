"""The connections of one process to its server."""
