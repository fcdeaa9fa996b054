"""Plan an enclave: pure values that say every step before any is taken."""
