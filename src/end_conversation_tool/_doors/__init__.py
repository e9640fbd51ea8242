"""What the doors share, and the inside of each."""
