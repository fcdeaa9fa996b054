"""`python -m belljar.loader`: the same as the command `belljar`."""

from belljar.loader.cli import console

console()
