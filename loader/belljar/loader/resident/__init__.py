"""The resident launcher: enclaves that stand ready before anybody asks (docs/decisions/0016-resident-launcher.md)."""
