"""Services on flat nftables maps; see README.md beside this file."""
