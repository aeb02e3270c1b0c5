"""What a role is and what it may become: the name that production code asks for, and the models pinned in its slots."""
