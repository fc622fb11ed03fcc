"""What bench/profile is made of: perf's samples, and the table that gives each to a phase."""
