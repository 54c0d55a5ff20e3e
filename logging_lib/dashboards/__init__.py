"""Dashboards: panel specifications, the searches behind them, and the Kibana saved objects built from them."""
