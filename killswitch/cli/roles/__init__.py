"""The commands about the file of all roles, ``killswitch roles …``, one file each."""
