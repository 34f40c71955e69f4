"""The services of a worker, each with one `run()` and an idempotent stop."""
