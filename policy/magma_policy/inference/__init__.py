"""What every decoder-only policy needs to answer: KV cache, decoding, sampling, smaller and faster weights."""
