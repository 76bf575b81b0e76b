"""A model in use: delayed labels, drift, alerts, versions and who may replace whom."""
