"""Which belljar this is: read by the build, shown by `belljar --version`, part of every launch record."""

VERSION = "0.1.0"
