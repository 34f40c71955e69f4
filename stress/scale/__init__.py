"""Scale: the arithmetic of `docs/scale.md`, and a simulation that shows where it ends.

Nothing is measured here: both reckon with the costs of `python -m stress.bench cost`.
"""
