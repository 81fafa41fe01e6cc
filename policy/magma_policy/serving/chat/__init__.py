"""The OpenAI-compatible side of a model's server: questions and pictures in, text out."""
