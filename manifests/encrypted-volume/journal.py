"""Add an entry to a database, and say what it holds."""

import sqlite3
import sys

connection = sqlite3.connect(sys.argv[1])
connection.execute("PRAGMA journal_mode=WAL")
connection.execute("CREATE TABLE IF NOT EXISTS entries (number INTEGER PRIMARY KEY, text)")
with connection:
    connection.execute("INSERT INTO entries (text) VALUES (hex(randomblob(1000)))")
print(*connection.execute("SELECT count(*), sum(length(text)) FROM entries").fetchone())
print(*connection.execute("PRAGMA integrity_check").fetchone())
