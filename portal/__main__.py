"""`python -m portal`: the command line, as the script `landdata` is."""

from portal.serve import main

if __name__ == "__main__":
    main()
