"""A small client of TPM 2.0: the commands a root of trust needs, over a socket or /dev/tpmrm0 (TCG TPM 2.0 Library)."""
