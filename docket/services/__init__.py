"""What a worker is made of: one agent a file, each with one `run()` and an idempotent stop."""
