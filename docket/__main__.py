"""The entry point of `python -m docket`, which is the program `docket`."""

from docket.cli import main

if __name__ == "__main__":
    main()
