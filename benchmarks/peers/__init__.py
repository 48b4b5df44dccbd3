"""What benchmarks/compare_peers.py is made of."""
