"""How pods of different nodes reach each other; one folder per fabric, one small interface."""
