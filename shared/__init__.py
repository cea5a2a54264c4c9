"""What services and workers have in common: contracts, the kit, the ML core and the client."""
