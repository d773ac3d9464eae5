"""Second-order loss changes: Fisher, Kronecker factors and Hessians."""
