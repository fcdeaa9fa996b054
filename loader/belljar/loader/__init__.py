"""The loader: manifest, measurement, plan, launch; and the command line over all of it."""
