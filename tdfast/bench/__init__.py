"""``python -m tdfast.bench``: this machine's times, beside those of whichever peers are installed.

=====================  =============================================================================
cases.py               what is timed: sizes, data, weights, floating point operations
implementations.py     who takes part: what each needs, its environment, its version and size
with_*.py              the same models, as a user of that library writes them
worker.py              the process of one implementation: commands in, answers out, as lines of JSON
race.py                starts the workers of a case, checks that their work is equal, alternates rounds
fleet.py               many models that are asked as one
contention.py          all threads beside one thread while other processes are busy
costs.py               import time, first call, memory, installed size, allocations of a step
report.py              tables for people, Markdown and JSON
cli.py                 the arguments
=====================  =============================================================================
"""
