"""Read a large file once; print megabytes per second."""

import json
import os
import time

buffer = bytearray(1 << 20)
descriptor = os.open("big", os.O_RDONLY)
size = os.fstat(descriptor).st_size
started = time.perf_counter()
while os.readv(descriptor, [buffer]):
    pass
print(json.dumps({"read": size / (time.perf_counter() - started) / 1e6}))
