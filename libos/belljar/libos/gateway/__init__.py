"""What leads in and out of an enclave: attested channels, ordinary TLS, names; the guest sees plain sockets."""
