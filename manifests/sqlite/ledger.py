"""Write and read a database from several threads, with a write-ahead log."""

import sqlite3
import sys
import threading

PATH = sys.argv[1]


def book(account):
    connection = sqlite3.connect(PATH, timeout=30)
    for amount in range(100):
        with connection:
            connection.execute("INSERT INTO entries VALUES (?, ?)", (account, amount))
    connection.close()


connection = sqlite3.connect(PATH)
print(*connection.execute("PRAGMA journal_mode=WAL").fetchone())
connection.execute("CREATE TABLE entries (account, amount)")
threads = [threading.Thread(target=book, args=(account,)) for account in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(*connection.execute("SELECT count(*), sum(amount) FROM entries").fetchone())
print(*connection.execute("PRAGMA integrity_check").fetchone())
