"""The only place that knows MLflow and SQL."""
