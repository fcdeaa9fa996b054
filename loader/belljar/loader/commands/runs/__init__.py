"""Commands about runs by name: they ask the supervisors, and say what they answered."""
