"""The Common Expression Language, as rules of definitions are written in it: parsed, checked, evaluated within bounds. Pure."""
