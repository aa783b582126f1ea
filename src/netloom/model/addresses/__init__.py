"""Which addresses a pod may have: its pool, the blocks of it that nodes claim, and addresses that it asks for."""
