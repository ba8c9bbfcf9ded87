"""One process of the cluster: the door for sockets and the host of rooms, over NATS."""
