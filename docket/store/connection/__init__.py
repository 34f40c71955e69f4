"""Connections of one process to its server."""
