"""Render HTML pages: theme, charts, templates. It gets values and knows neither a store nor a watch."""
