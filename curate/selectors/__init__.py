"""Pure functions from arrays to picks: no files, no models. Ties go to the lower index (rows come sorted by id)."""
