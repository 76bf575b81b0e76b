"""What every other room stands on: errors, seeds, progress, atomic writing."""
