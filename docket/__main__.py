"""`python -m docket` is the program `docket`."""

from docket.cli import main

if __name__ == "__main__":
    main()
