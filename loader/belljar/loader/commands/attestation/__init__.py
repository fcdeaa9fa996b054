"""`belljar attest`, `verify-evidence`, `policy …`, `verifier …`: deciding whether to trust an enclave. Cold."""
