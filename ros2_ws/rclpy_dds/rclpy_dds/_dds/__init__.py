"""The transport: libddsc through ctypes, with serialised messages going in and out as single buffers."""
