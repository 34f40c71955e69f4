"""Measurements of the library, and tests of its promises under faults, as commands."""
