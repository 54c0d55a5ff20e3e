"""Measure how soon the watches find faults, and how often they raise false alarms: ``make bench-detection``."""
