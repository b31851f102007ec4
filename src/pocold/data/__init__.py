"""Data sets. Networks import no data and data imports no networks."""
