"""The services of a worker: one agent a file, each with one `run()` and an idempotent stop."""
