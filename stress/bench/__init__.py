"""How fast the library is, beside the least that a Python worker could do on the same machine.

Each bench is a module with one `run(bench, ...)` that returns a Report. What is timed runs in
processes of its own, started anew for every round (see child.py), and reports back in JSON.
"""
