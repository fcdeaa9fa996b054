"""Attested channels: TLS 1.3, evidence bound to the session, and nothing of the application before both have agreed."""
