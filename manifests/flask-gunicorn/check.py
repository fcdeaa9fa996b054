"""Start gunicorn with two workers, ask it until it answers, stop it."""

import subprocess
import time
import urllib.error
import urllib.request

ADDRESS = "127.0.0.1:8000"

server = subprocess.Popen(["gunicorn", "--bind", ADDRESS, "--workers", "2", "--log-level", "warning", "web:app"])
deadline = time.monotonic() + 30
while True:
    try:
        with urllib.request.urlopen(f"http://{ADDRESS}/") as answer:
            print(answer.status, answer.read().decode().strip())
        break
    except urllib.error.URLError:
        if time.monotonic() > deadline:
            raise
        time.sleep(0.1)
server.terminate()
print("gunicorn ended with", server.wait())
