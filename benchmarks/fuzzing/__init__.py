"""What `benchmarks/fuzz.py` is made of: mutation of files, valid and hostile seeds, readers, and a guard."""
