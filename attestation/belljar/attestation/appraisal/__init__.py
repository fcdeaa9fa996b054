"""The appraisal policy: what a relying party asks of an attester, the verdict, and how the verdict is told (EAR)."""
