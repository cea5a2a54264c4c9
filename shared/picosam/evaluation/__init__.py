"""Evaluations of whole models: networks in either runtime, their answers, what these are worth, and how sure that is."""
