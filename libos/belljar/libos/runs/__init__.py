"""Runs by name: the directory of each, the desk where its supervisor answers, and what is kept when it is over."""
