"""The guest's side of the fork: take the planned steps, be pid 1, become the program."""
