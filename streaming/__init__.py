"""Kafka, the replay and the Spark job."""
