"""How soon the watches find what goes wrong, and how often they cry wolf: ``make bench-detection``."""
