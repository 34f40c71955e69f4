"""Faults of everything that the runtime uses, and a check that nothing is lost.

    python -m stress chaos --minutes 30 --seed 7

Several supervisors with their pools work on one docket, real producers feed it, and a plan drawn
from the seed kills, stops, cuts off and starves all of them. Every run of every task is noted in
files outside of the docket. When the faults have stopped and the queue is empty, a checker compares
that history with what was promised.
"""
