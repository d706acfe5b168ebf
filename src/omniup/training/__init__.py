"""Train AnyUp and HYPIR on Accelerate.

Here are the loop (`loop`), what it writes and goes on from (`checkpoints`), how a YAML file is read and refused
(`settings`), photographs, and random numbers that need no state. `anyup` and `hypir` say what is trained, and on what.
"""
