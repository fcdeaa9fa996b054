"""Quotes of a TPM 2.0: parsed and verified; making them is the roots' business (TCG TPM 2.0 Library)."""
