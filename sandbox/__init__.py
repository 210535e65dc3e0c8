"""Azure's pieces on loopback: the model village. Shares no code with ``controller``."""
