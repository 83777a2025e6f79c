"""The candidates: each does the stages it can, and says what it leaves out."""
