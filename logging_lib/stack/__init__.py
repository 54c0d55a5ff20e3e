"""Deploy what the project needs to an Elasticsearch, report its state, remove it again, diagnose the cluster."""
