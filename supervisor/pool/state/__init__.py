"""State of one run and the pure rules over it."""
