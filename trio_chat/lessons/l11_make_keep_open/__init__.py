"""The capstone: make a supervisor that keeps a room open, with back-off."""
