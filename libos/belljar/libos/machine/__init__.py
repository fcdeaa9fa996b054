"""What this machine offers: one small function per probe. Each tries, elsewhere if that changes something.

Cold: only `belljar doctor` asks, through the door `examining.py`.
"""
