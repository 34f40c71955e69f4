"""Measurements of the library's speed, beside a baseline: the least that a Python worker could do.

Each scenario is a module with one `run(url, settings)` that returns a Report. Timed code runs in
processes of its own, started anew for every round (see child.py), and reports back in JSON.
"""
