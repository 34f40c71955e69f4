"""HTTP endpoints, metrics and the status report."""
