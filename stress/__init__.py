"""Programs that press on the library: how fast it is, and what it does when things break."""
