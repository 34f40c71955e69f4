"""The multiprocess runtime of docket: a supervisor, a nursery that forks, a pool of workers."""
