"""Hidden names."""


def topic_or_service_is_hidden(name: str) -> bool:
    """Return whether any token of a topic or service name begins with an underscore."""
    return any(token.startswith("_") for token in name.split("/") if token)
