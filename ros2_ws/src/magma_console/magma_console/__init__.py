"""The operator's page in the browser."""
