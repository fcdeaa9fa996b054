"""Roots of hardware makers, by name: SHA-256 of their SubjectPublicKeyInfo in DER.

A policy pins them by these names, or any other key by its digest. Nothing is trusted because it stands here. `openssl
x509 -in ROOT.pem -noout -pubkey | openssl pkey -pubin -outform DER | sha256sum` prints the same. Values only.
"""

from __future__ import annotations

VENDOR_ROOTS: dict[str, bytes] = {
    "intel-sgx": bytes.fromhex("a0af031289f5d5d4132f9186068a7fc13628633ba235777472e29b6b6c67a49e"),
    "amd-milan": bytes.fromhex("9f056bee44377e29308cb5ffa895bdfb62d18881fa6bed8d6f075b0204089cb9"),
    "amd-genoa": bytes.fromhex("429a69c9422aa258ee4d8db5fcda9c6470ef15f8cd5a9cebd6cbc7d90b863831"),
    "amd-turin": bytes.fromhex("4f125410563a2ab9a50356f9243f6fe0b6f73de98603f53f90339c70e9d7ad08"),
}
"""Intel SGX Root CA (SGX and TDX), ARK-Milan, ARK-Genoa, ARK-Turin."""
