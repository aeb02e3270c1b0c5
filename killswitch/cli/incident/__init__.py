"""The commands about one incident."""
