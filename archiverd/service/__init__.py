"""What makes it a program to live with: signals, logging, progress."""
