"""Deploy the project's resources to an Elasticsearch, report their state, remove them, diagnose the cluster."""
