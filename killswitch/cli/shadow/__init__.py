"""The commands of shadow mode, ``killswitch shadow …``, one file each."""
