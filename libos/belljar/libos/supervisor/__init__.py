"""The host's side of the fork: serve the guest's files, forward its terminal and signals, watch and end it."""
