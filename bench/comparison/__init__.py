"""What bench/compare is made of: data sets, contestants, rounds, curves, reports."""
