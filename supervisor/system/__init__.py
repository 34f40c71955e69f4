"""Thin layers over the operating system."""
