"""The only room that issues Redis commands."""
