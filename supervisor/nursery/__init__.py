"""The fork server: an exec'd process that imports the tasks once and forks the workers."""
