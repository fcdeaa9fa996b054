"""How a Linux file system behaves: small cases whose results are compared between file systems."""
