"""Signed bundles: a measured enclave in one file (docs/formats/bundle.md). Cold: nothing of a warm start comes here."""
