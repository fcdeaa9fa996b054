"""`belljar volume …`: prepare, look into, keep and destroy encrypted volumes, without a sandbox. Cold."""
