"""`python -m roomful`."""

from roomful.cli import main

if __name__ == "__main__":
    main()
