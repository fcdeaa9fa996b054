"""Import modules in new processes, over and over; print the median times in milliseconds."""

import json
import statistics
import subprocess
import sys
import time

MODULES = {"nothing": "pass", "json asyncio ssl sqlite3": "import json, asyncio, ssl, sqlite3", "numpy": "import numpy"}


def timed(code):
    """Return how long a new interpreter takes for some code."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, stderr=subprocess.DEVNULL)
    return (time.perf_counter() - started) * 1000


found = {}
for name, code in MODULES.items():
    try:
        timed(code)
    except subprocess.CalledProcessError:
        continue  # not installed
    found[name] = statistics.median(timed(code) for _ in range(9))
print(json.dumps(found))
