"""`python -m archiverd`."""

from archiverd.cli import main

if __name__ == "__main__":
    main()
