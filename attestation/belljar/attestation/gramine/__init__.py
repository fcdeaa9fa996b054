"""SGX's structures, as scripts written for Gramine's /dev/attestation slice them; the root below them is ours."""
