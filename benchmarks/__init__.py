"""The input of `make bench`, and the measurements that need this repository: HTTP, the embedded log, the warehouse.

The measurement itself is `frazil.bench`. `BENCH_EVENTS=50000 make bench` is a quick look; `make bench` takes 1,000,000 events.
"""
