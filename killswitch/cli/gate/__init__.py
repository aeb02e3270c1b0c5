"""The commands of the promotion gate, ``killswitch gate …``, one file each."""
