"""The commands about one role, ``killswitch role …``, one file each."""
