"""Render HTML pages: theme, charts, templates. The package gets values and knows neither stores nor watches."""
