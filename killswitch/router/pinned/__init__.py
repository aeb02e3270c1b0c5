"""Pinned models by role, inside a service: which model each slot holds, and which model has answered for it.

`killswitch.router.roles` is what a service calls. Memory and its laws are in `memory`, the threads in `following`.
"""
