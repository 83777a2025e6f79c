"""What the kernel does in what time, against plain Python, DuckDB and polars on the same events in the same run.

`make bench` runs it on 1,000,000 events; `BENCH_EVENTS=50000 make bench` is a quick look.
"""
