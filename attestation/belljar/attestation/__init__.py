"""Identity of an enclave: what is measured, and how it becomes one digest. Works on any system, without the sandbox.

Door: `belljar.attestation.measurement`.
"""
