"""What sending costs: smtpsend, its peers and the physical limit, side by side.

`python -m benchmarks` runs it all; see README.md beside this file.
"""
