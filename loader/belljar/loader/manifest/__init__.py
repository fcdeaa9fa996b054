"""The manifest: read strictly, checked, merged with its bases, its variables filled in."""
