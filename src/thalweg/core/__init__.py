"""What every other room stands on: errors, seeds, progress, hashes of files, atomic writing."""
