"""Dashboards: panel specs, the searches that they stand for, and the Kibana saved objects made from them."""
