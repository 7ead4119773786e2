"""Resource quotas: what objects use, whether it fits, and the amounts in use of each quota."""
