"""Services: the row, its checks, and the addresses and node ports that it draws from the pools."""
