"""Runs watches when they are due, decides by incident whom to tell, and delivers."""
