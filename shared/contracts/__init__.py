"""What crosses a process boundary. Pydantic only: no torch, no database, no HTTP framework."""
