"""Count the words of a file."""

import collections
import pathlib
import re
import sys

words = re.findall(r"[a-z]+", pathlib.Path(sys.argv[1]).read_text().lower())
for word, count in collections.Counter(words).most_common(3):
    print(f"{count} {word}")
