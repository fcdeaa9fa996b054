"""CPython's own test suite, run outside and inside of an enclave, compared test by test."""
