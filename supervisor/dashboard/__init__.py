"""The dashboard of dockets with the pool beside it."""
