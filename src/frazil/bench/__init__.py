"""What the kernel does in what time, against the tools one would use instead, on the same events in the same run.

It is part of the package, beside `api` and `engine`, because an installed Frazil measures its user's own contract (`frazil bench`);
`benchmarks/` of the repository adds only the input of `make bench`. Peers get their types and rules from the contract, too. What they
need is the extra `bench`; nothing outside this package imports it but the command line.
"""
