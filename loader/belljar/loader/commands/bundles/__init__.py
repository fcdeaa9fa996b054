"""The commands that are about bundles alone. Cold."""
