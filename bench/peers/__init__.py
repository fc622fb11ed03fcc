"""Other people's indexes, a module each, behind one small interface (see base.py)."""
