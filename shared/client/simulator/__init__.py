"""Thousands of simulated cameras in one process, over the device API that real ones speak.

Names are imported from where they are: ``simulation.Simulation``, ``behaviour.Behaviour``.
"""
