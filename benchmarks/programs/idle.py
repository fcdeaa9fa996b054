"""Say that it runs, and wait for a line."""

import sys

print("ready", flush=True)
sys.stdin.readline()
