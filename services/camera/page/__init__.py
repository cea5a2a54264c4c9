"""A page of the camera's own, for setting it up: what it sees, the masks, and what goes wrong. Off by default."""
