"""Who a running enclave is: its root of trust, its evidence, and the guest's files to ask for both."""
