"""Check and measure the package on a GPU, in parts that take a device and run on a CPU as well."""
