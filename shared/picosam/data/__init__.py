"""Datasets: read and check what people bring, write one canonical manifest, prepare memory-mapped window shards."""
