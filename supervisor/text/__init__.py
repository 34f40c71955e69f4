"""Parsing and formatting of short texts."""
