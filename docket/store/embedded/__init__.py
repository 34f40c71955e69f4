"""The embedded server behind memory:// and embedded://."""
