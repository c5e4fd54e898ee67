"""What `benchmarks/hostile_files.py` is made of: mutation of files, valid and hostile seeds, readers, and a guard."""
