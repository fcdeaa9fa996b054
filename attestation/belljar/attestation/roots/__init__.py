"""Roots of trust: what an identity, a sealed key and evidence rest on, behind one seam (IEEE 2952 5.1.3, 7.2)."""
