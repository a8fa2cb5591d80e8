"""The gateway that speaks for several partitions: its components and their composition."""
