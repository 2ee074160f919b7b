"""`python -m sqlanalysis`."""

from .cli import main

if __name__ == "__main__":
    main()
