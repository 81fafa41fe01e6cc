"""Places and the words for them, whichever model finds them."""
