"""One file per method, named for the method. Found through the entry-point group `curate.methods`."""
