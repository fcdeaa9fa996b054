"""Deriving, comparing and encrypting: thin rooms over `cryptography`, each thing in one place (IEEE 2952 7.6.2)."""
