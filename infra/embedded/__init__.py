"""The whole platform on one machine: the same processes as elsewhere, under a supervisor, on the loopback interface."""
