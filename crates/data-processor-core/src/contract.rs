//! A contract's plan, compiled for the scanner.
