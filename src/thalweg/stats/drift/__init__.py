"""Whether a stream still is what it was: detectors of change, and two tables compared."""
