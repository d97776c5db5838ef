"""All that touches disks: the trees, their roots, and the catalog."""
