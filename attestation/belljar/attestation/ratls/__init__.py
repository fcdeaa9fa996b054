"""Interoperable RA-TLS: a quote inside a certificate, bound to that certificate's own key (CCC Attestation SIG)."""
