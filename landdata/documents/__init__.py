"""What landdata writes for people: reports on the terminal and as files."""
