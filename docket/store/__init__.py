"""The store: the only package that issues Redis commands."""
