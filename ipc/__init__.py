"""The channel between a supervisor, its nursery and its workers: messages, framing, descriptors."""
