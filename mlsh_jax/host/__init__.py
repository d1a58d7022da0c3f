"""The host side: everything that knows clocks, files, processes and devices."""
