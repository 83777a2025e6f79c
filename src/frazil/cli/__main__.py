"""`python -m frazil.cli`: the command line without its launcher script."""

from frazil.cli import main

if __name__ == "__main__":
    main()
