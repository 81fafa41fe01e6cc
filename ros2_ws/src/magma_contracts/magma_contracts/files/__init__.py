"""Files that people hand in or name, read and written within limits: tables, tokens, outputs, digests."""
