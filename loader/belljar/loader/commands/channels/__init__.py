"""Commands that talk to enclaves over attested channels."""
