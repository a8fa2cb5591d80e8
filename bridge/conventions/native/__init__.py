"""The gateway's own topics, as the contract has them."""
