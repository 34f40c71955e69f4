"""Decisions about the pool of workers: no socket, process or clock is touched here."""
