"""What a manifest opens of the network: its other forms, its mistakes, its addresses."""
