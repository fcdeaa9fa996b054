"""AMD SEV-SNP attestation reports: parsed, and verified with VCEK or VLEK up to AMD's root (AMD 56860, 57230)."""
