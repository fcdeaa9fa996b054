"""Back ends of the freshness anchor: where the newest root of a volume is remembered outside of the volume."""
