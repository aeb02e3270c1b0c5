"""The flag store on etcd."""
