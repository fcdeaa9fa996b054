"""The most frequent word of a file, by a shell pipeline."""

import subprocess

PIPELINE = "tr -cs a-z '\\n' < words.txt | sort | uniq -c | sort -rn | head -n 1"

print(subprocess.run(PIPELINE, shell=True, capture_output=True, text=True, check=True).stdout.split())
print(subprocess.run(["wc", "-w", "words.txt"], capture_output=True, text=True, check=True).stdout.split())
