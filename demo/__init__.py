"""`make demo`: the shop under fire, told and checked step by step."""
