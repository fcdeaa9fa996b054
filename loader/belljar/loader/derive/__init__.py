"""Find out what a program of the host needs in order to run elsewhere."""
