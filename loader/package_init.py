"""Belljar: run unmodified Python programs in a sealed, measured, attestable sandbox.

This file exists only in built wheels, where it makes `belljar` a regular package (see hatch_build.py).
"""
