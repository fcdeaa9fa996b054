"""The resident launcher: enclaves that stand ready before anybody asks (docs/decisions/0013-resident-launcher.md)."""
