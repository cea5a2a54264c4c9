"""What this replica remembers of devices that poll: who has nothing to do, and who was heard of."""


class PollMemory:
    """Safe to use from several threads."""
